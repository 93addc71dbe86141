// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/sched.h>
#include <linux/smp.h>

unsigned int wg_helper_cpu_next_online(int last)
{
	unsigned int cpu = cpumask_next(last, cpu_online_mask);

	if (cpu >= nr_cpu_ids)
		cpu = cpumask_first(cpu_online_mask);
	return cpu;
}

/* @cpu if it is online, else one that depends on @id only while none comes or goes. */
unsigned int wg_helper_cpu_choose_online(unsigned int cpu, u64 id)
{
	while (unlikely(cpu >= nr_cpu_ids || !cpu_online(cpu)))
		cpu = cpumask_nth((u32)id % num_online_cpus(), cpu_online_mask);
	return cpu;
}

bool wg_helper_cpu_is_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

bool wg_helper_cpu_is_online(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_online(cpu);
}

unsigned int wg_helper_cpu_ids(void)
{
	return nr_cpu_ids;
}

unsigned int wg_helper_cpu_current(void)
{
	return raw_smp_processor_id();
}

bool wg_helper_need_resched(void)
{
	return need_resched();
}

void wg_helper_cond_resched(void)
{
	cond_resched();
}
