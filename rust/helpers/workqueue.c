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

/*
 * Work is queued for each batch, so these look at the CPU and queue in one call.
 */
static int wg_work_cpu(unsigned int cpu, int otherwise)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu) ? cpu : otherwise;
}

bool wg_helper_queue_work_near(unsigned int cpu, struct workqueue_struct *wq,
			       struct work_struct *work)
{
	return queue_work_on(wg_work_cpu(cpu, WORK_CPU_UNBOUND), wq, work);
}

/* @ptr: where each CPU has a work item. */
bool wg_helper_percpu_work_queue(void __percpu *ptr, unsigned int cpu,
				 struct workqueue_struct *wq)
{
	struct work_struct __percpu *work = ptr;

	cpu = wg_work_cpu(cpu, raw_smp_processor_id());
	return queue_work_on(cpu, wq, per_cpu_ptr(work, cpu));
}

void __percpu *wg_helper_alloc_percpu(size_t size, size_t align)
{
	return __alloc_percpu(size, align);
}

void *wg_helper_per_cpu_ptr(void __percpu *ptr, unsigned int cpu)
{
	return per_cpu_ptr(ptr, cpu);
}

void wg_helper_percpu_counters_add(void __percpu *ptr, unsigned int i, u64 n)
{
	u64 __percpu *counters = ptr;

	this_cpu_add(counters[i], n);
}
