// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/smp.h>

/*
 * A CPU is chosen whenever work is handed over. It takes a static key, bits of
 * cpumasks and a walk along them, all of which are inlines: in Rust that would
 * be a call for each look at a CPU.
 */

/* A kernel without CONFIG_CPU_ISOLATION has no such key, and no such CPUs. */
static __always_inline bool wg_cpus_isolated(void)
{
#ifdef CONFIG_CPU_ISOLATION
	return static_branch_unlikely(&housekeeping_overridden);
#else
	return false;
#endif
}

/*
 * Isolated CPUs (isolcpus=, nohz_full=, cpuset partitions) are for somebody
 * else's work, as long as there are others.
 */
static bool wg_cpu_isolated(unsigned int cpu)
{
	return !housekeeping_test_cpu(cpu, HK_TYPE_DOMAIN) ||
	       !housekeeping_test_cpu(cpu, HK_TYPE_KERNEL_NOISE);
}

/* Whether this CPU is, with bottom halves off. */
static noinline bool wg_this_cpu_isolated(void)
{
	bool isolated;

	rcu_read_lock();
	isolated = wg_cpu_isolated(smp_processor_id());
	rcu_read_unlock();
	return isolated;
}

static noinline unsigned int wg_cpu_next_unisolated(int last)
{
	unsigned int cpu = last, n;

	rcu_read_lock();
	for (n = 0; n < nr_cpu_ids; n++) {
		cpu = cpumask_next_wrap((int)cpu, cpu_online_mask);
		if (!wg_cpu_isolated(cpu))
			break;
	}
	rcu_read_unlock();
	return cpu;
}

/* An online CPU after @last, not an isolated one. */
unsigned int wg_helper_cpu_next_online(int last)
{
	if (unlikely(last < -1 || last >= (int)nr_cpu_ids))
		last = -1;
	if (wg_cpus_isolated())
		return wg_cpu_next_unisolated(last);
	return cpumask_next_wrap(last, cpu_online_mask);
}

/*
 * @cpu if it is online and not isolated, else one that depends on @id only
 * while none comes or goes.
 */
unsigned int wg_helper_cpu_choose_online(unsigned int cpu, u64 id)
{
	bool isolated = false;

	if (wg_cpus_isolated() && cpu < nr_cpu_ids) {
		rcu_read_lock();
		isolated = wg_cpu_isolated(cpu);
		rcu_read_unlock();
	}
	if (likely(cpu < nr_cpu_ids && cpu_online(cpu) && !isolated))
		return cpu;
	do
		cpu = cpumask_nth((u32)id % num_online_cpus(), cpu_online_mask);
	while (unlikely(cpu >= nr_cpu_ids || !cpu_online(cpu)));
	if (wg_cpus_isolated())
		return wg_cpu_next_unisolated((int)cpu - 1);
	return cpu;
}

/* How many CPUs wg_helper_cpu_next_online() goes round. */
unsigned int wg_helper_cpu_usable(void)
{
	unsigned int cpu, n = 0;

	if (wg_cpus_isolated()) {
		rcu_read_lock();
		for_each_online_cpu(cpu)
			n += !wg_cpu_isolated(cpu);
		rcu_read_unlock();
	}
	return n ?: num_online_cpus();
}

bool wg_helper_cpu_is_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

unsigned int wg_helper_cpu_ids(void)
{
	return nr_cpu_ids;
}

void wg_helper_cond_resched(void)
{
	cond_resched();
}
