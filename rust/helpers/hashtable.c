// SPDX-License-Identifier: GPL-2.0
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/siphash.h>
#include <linux/unaligned.h>

/*
 * The parameters are constant, so that lookups are inlined into the helpers.
 * What is hashed is the node; Rust finds the object around it. The layouts are
 * those of IndexNode and KeyNode in hashtable.rs. The hash function and its
 * secret are here for the same reason: called through a pointer, out of each
 * lookup, it would not be inlined.
 */
struct wg_index_node {
	struct rhash_head head;
	u32 key;
};

#define WG_KEY_LEN 32

struct wg_key_node {
	struct rhash_head head;
	u8 key[WG_KEY_LEN];
};

static const struct rhashtable_params wg_index_params = {
	.key_len = sizeof_field(struct wg_index_node, key),
	.key_offset = offsetof(struct wg_index_node, key),
	.head_offset = offsetof(struct wg_index_node, head),
	.automatic_shrinking = true,
};

static siphash_aligned_key_t wg_key_secret;

static u32 wg_key_hash(const void *data, u32 len, u32 seed)
{
	const siphash_key_t key = { {
		wg_key_secret.key[0], wg_key_secret.key[1] ^ seed
	} };
	const u64 *word = data;

	return siphash_4u64(get_unaligned(word), get_unaligned(word + 1),
			    get_unaligned(word + 2), get_unaligned(word + 3),
			    &key);
}

static const struct rhashtable_params wg_key_params = {
	.key_len = sizeof_field(struct wg_key_node, key),
	.key_offset = offsetof(struct wg_key_node, key),
	.head_offset = offsetof(struct wg_key_node, head),
	.hashfn = wg_key_hash,
	.automatic_shrinking = true,
};

int wg_helper_index_table_init(struct rhashtable *table)
{
	return rhashtable_init(table, &wg_index_params);
}

void *wg_helper_index_table_lookup(struct rhashtable *table, u32 key)
{
	return rhashtable_lookup(table, &key, wg_index_params);
}

int wg_helper_index_table_insert(struct rhashtable *table, void *node)
{
	struct wg_index_node *n = node;

	return rhashtable_lookup_insert_fast(table, &n->head, wg_index_params);
}

u32 wg_helper_index_table_len(struct rhashtable *table)
{
	return atomic_read(&table->nelems);
}

/* Returns the node as the table stored it, or NULL if it was not in there. */
void *wg_helper_index_table_remove(struct rhashtable *table, void *node)
{
	struct wg_index_node *n = node;

	return rhashtable_remove_fast(table, &n->head, wg_index_params) ? NULL : n;
}

int wg_helper_key_table_init(struct rhashtable *table)
{
	static DEFINE_MUTEX(lock);
	static bool done;

	/*
	 * Before the first hash, as this is before the first table. Not
	 * get_random_once(), whose deferred part holds the module for a while.
	 */
	mutex_lock(&lock);
	if (!done)
		get_random_bytes(&wg_key_secret, sizeof(wg_key_secret));
	done = true;
	mutex_unlock(&lock);
	return rhashtable_init(table, &wg_key_params);
}

void *wg_helper_key_table_lookup(struct rhashtable *table, const u8 *key)
{
	return rhashtable_lookup(table, key, wg_key_params);
}

int wg_helper_key_table_insert(struct rhashtable *table, void *node)
{
	struct wg_key_node *n = node;

	return rhashtable_lookup_insert_fast(table, &n->head, wg_key_params);
}

void *wg_helper_key_table_remove(struct rhashtable *table, void *node)
{
	struct wg_key_node *n = node;

	return rhashtable_remove_fast(table, &n->head, wg_key_params) ? NULL : n;
}
