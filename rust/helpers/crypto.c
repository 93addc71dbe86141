// SPDX-License-Identifier: GPL-2.0
#include <crypto/blake2s.h>
#include <crypto/utils.h>
#include <linux/string.h>

/* Keyed if @keylen is not 0. */
void wg_helper_blake2s_init(struct blake2s_ctx *ctx, size_t outlen,
			    const u8 *key, size_t keylen)
{
	__blake2s_init(ctx, outlen, key, keylen);
}

bool wg_helper_crypto_memneq(const void *a, const void *b, size_t size)
{
	return crypto_memneq(a, b, size);
}

void wg_helper_memzero_explicit(void *s, size_t count)
{
	memzero_explicit(s, count);
}

/*
 * Overwrites the stack below the caller's frame, 1600 bytes and a little more
 * per level: a frame of which the compiler does not warn. It is written to
 * after the call, so that each level has a frame of its own.
 */
static_assert(THREAD_SIZE >= 16384, "wireguard_rs needs kernel stacks of 16 KiB");
noinline void wg_helper_burn_stack(unsigned int levels)
{
	u8 frame[1600];

	if (levels > 1)
		wg_helper_burn_stack(levels - 1);
	memzero_explicit(frame, sizeof(frame));
}
