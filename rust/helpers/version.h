/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WGK_VERSION

/* The version of the package, as debian/changelog has it. */
#define WGK_VERSION "0.1.0"

#endif
