// SPDX-License-Identifier: GPL-2.0
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

struct workqueue_struct *wg_helper_alloc_workqueue(const char *name,
						   unsigned int flags,
						   int max_active)
{
	return alloc_workqueue("%s", flags, max_active, name);
}

static int wg_work_cpu(unsigned int cpu, int otherwise)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu) ? cpu : otherwise;
}

bool wg_helper_queue_work_near(unsigned int cpu, struct workqueue_struct *wq,
			       struct work_struct *work)
{
	return queue_work_on(wg_work_cpu(cpu, WORK_CPU_UNBOUND), wq, work);
}

/* The layout is that of Slot in percpu.rs. */
struct wg_percpu_work {
	struct work_struct work;
	const void *context;
	unsigned int cpu;
};

void __percpu *wg_helper_percpu_work_alloc(work_func_t func,
					   const void *context,
					   const char *name,
					   struct lock_class_key *key)
{
	struct wg_percpu_work __percpu *works;
	int cpu;

	works = alloc_percpu(struct wg_percpu_work);
	if (!works)
		return NULL;

	for_each_possible_cpu(cpu) {
		struct wg_percpu_work *w = per_cpu_ptr(works, cpu);

		__init_work(&w->work, 0);
		w->work.data = (atomic_long_t)WORK_DATA_INIT();
		lockdep_init_map(&w->work.lockdep_map, name, key, 0);
		INIT_LIST_HEAD(&w->work.entry);
		w->work.func = func;
		w->context = context;
		w->cpu = cpu;
	}
	return works;
}

bool wg_helper_percpu_work_queue(void __percpu *ptr, unsigned int cpu,
				 struct workqueue_struct *wq)
{
	struct wg_percpu_work __percpu *works = ptr;

	cpu = wg_work_cpu(cpu, raw_smp_processor_id());
	return queue_work_on(cpu, wq, &per_cpu_ptr(works, cpu)->work);
}

/* Sleeps until no CPU's work is pending or running. */
void wg_helper_percpu_work_free(void __percpu *ptr)
{
	struct wg_percpu_work __percpu *works = ptr;
	int cpu;

	for_each_possible_cpu(cpu)
		cancel_work_sync(&per_cpu_ptr(works, cpu)->work);
	free_percpu(works);
}

void __percpu *wg_helper_percpu_counters_alloc(unsigned int n)
{
	return __alloc_percpu(n * sizeof(u64), __alignof__(u64));
}

void wg_helper_percpu_counters_add(void __percpu *ptr, unsigned int i, u64 n)
{
	u64 __percpu *counters = ptr;

	this_cpu_add(counters[i], n);
}

/* A reader on a 32-bit machine may see half of an addition. */
u64 wg_helper_percpu_counters_sum(void __percpu *ptr, unsigned int i)
{
	u64 __percpu *counters = ptr;
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&counters[i], cpu));
	return sum;
}

void wg_helper_percpu_counters_free(void __percpu *ptr)
{
	free_percpu(ptr);
}
