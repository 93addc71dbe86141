// SPDX-License-Identifier: GPL-2.0
#include <linux/spinlock.h>

void wg_helper_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

int wg_helper_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

void wg_helper_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

/* rwlock_init() takes its name and class from where it stands. */
void wg_helper_rwlock_init(rwlock_t *lock, const char *name,
			   struct lock_class_key *key)
{
#if defined(CONFIG_PREEMPT_RT)
	init_rwbase_rt(&lock->rwbase);
	__rt_rwlock_init(lock, (char *)name, key);
#elif defined(CONFIG_DEBUG_SPINLOCK)
	__rwlock_init(lock, name, key);
#else
	rwlock_init(lock);
#endif
}

void wg_helper_read_lock_bh(rwlock_t *lock)
{
	read_lock_bh(lock);
}

/* As the other one if it succeeds: what it disabled is enabled by its end. */
bool wg_helper_read_trylock_bh(rwlock_t *lock)
{
	local_bh_disable();
	if (read_trylock(lock))
		return true;
	local_bh_enable();
	return false;
}

void wg_helper_read_unlock_bh(rwlock_t *lock)
{
	read_unlock_bh(lock);
}

void wg_helper_write_lock_bh(rwlock_t *lock)
{
	write_lock_bh(lock);
}

void wg_helper_write_unlock_bh(rwlock_t *lock)
{
	write_unlock_bh(lock);
}
