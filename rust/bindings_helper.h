/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for crate wgk; sorted. Inlines and macros get a shim in helpers/. */
#include <crypto/blake2s.h>
#include <crypto/chacha.h>
#include <crypto/chacha20poly1305.h>
#include <crypto/curve25519.h>
#include <crypto/poly1305.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/ptr_ring.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/suspend.h>
#include <net/dst_cache.h>
#include <net/genetlink.h>
#include <net/inet_sock.h>
#include <net/ip_tunnels.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/tcp.h>
#include <net/udp_tunnel.h>
#include <uapi/linux/wireguard.h>
#include "helpers/trace.h"
#include "helpers/version.h"

/* Where C has what netdevice.rs reaches into; compared with the bindings at compile time. */
enum {
	WGK_NET_DEVICE_FLAGS = offsetof(struct net_device, flags),
	WGK_NET_DEVICE_MTU = offsetof(struct net_device, mtu),
	WGK_NET_DEVICE_FEATURES = offsetof(struct net_device, features),
	WGK_NET_DEVICE_IFINDEX = offsetof(struct net_device, ifindex),
	WGK_NET_DEVICE_NAME = offsetof(struct net_device, name),
	WGK_NET_DEVICE_HW_ENC_FEATURES = offsetof(struct net_device, hw_enc_features),
	WGK_NET_DEVICE_MAX_MTU = offsetof(struct net_device, max_mtu),
	WGK_NET_DEVICE_TYPE = offsetof(struct net_device, type),
	WGK_NET_DEVICE_ADDR_LEN = offsetof(struct net_device, addr_len),
	WGK_NET_DEVICE_REG_STATE = offsetof(struct net_device, reg_state),
	WGK_NET_DEVICE_PRIV_DESTRUCTOR = offsetof(struct net_device, priv_destructor),
	WGK_NET_DEVICE_RTNL_LINK_OPS = offsetof(struct net_device, rtnl_link_ops),
	WGK_NET_DEVICE_ETHTOOL_OPS = offsetof(struct net_device, ethtool_ops),
	WGK_NET_DEVICE_PRIV = offsetof(struct net_device, priv),
};

/* The same for udp_tunnel.rs and route.rs; of the port there is no binding. */
enum {
	WGK_SOCKET_SK = offsetof(struct socket, sk),
	WGK_SOCK_ALLOCATION = offsetof(struct sock, sk_allocation),
	WGK_SOCK_SNDBUF = offsetof(struct sock, sk_sndbuf),
	WGK_INET_SOCK_SPORT = offsetof(struct inet_sock, inet_sport),
	WGK_UDP_PORT_CFG_LOCAL = offsetof(struct udp_port_cfg, local_ip),
	WGK_UDP_PORT_CFG_PORT = offsetof(struct udp_port_cfg, local_udp_port),
	WGK_UDP_PORT_CFG_IFINDEX = offsetof(struct udp_port_cfg, bind_ifindex),
	WGK_UDP_PORT_CFG_SIZE = sizeof(struct udp_port_cfg),
	WGK_UDP_TUNNEL_CFG_RCV = offsetof(struct udp_tunnel_sock_cfg, encap_rcv),
	WGK_UDP_TUNNEL_CFG_SIZE = sizeof(struct udp_tunnel_sock_cfg),
	WGK_RTABLE_DST = offsetof(struct rtable, dst),
	WGK_DST_DEV = offsetof(struct dst_entry, dev),
};

/* What one makes room for and the other uses. */
enum {
	WGK_NAPI_SIZE = sizeof(struct napi_struct),
	WGK_PTR_RING_SIZE = sizeof(struct ptr_ring),
	WGK_DST_CACHE_SIZE = sizeof(struct dst_cache),
	WGK_LINK_OPS_SIZE = sizeof(struct rtnl_link_ops),
	WGK_GENL_FAMILY_SIZE = sizeof(struct genl_family),
	WGK_GENL_INFO_SIZE = sizeof(struct genl_info),
	WGK_GENL_OPS_SIZE = sizeof(struct genl_split_ops),
	WGK_NLA_POLICY_SIZE = sizeof(struct nla_policy),
	WGK_EXT_ACK_SIZE = sizeof(struct netlink_ext_ack),
	WGK_PERNET_SIZE = sizeof(struct pernet_operations),
};

/* Constants that are casts, which bindgen does not evaluate in a macro. */
static const unsigned int WGK_GSO_MAX_SIZE = GSO_MAX_SIZE;
static const unsigned int WGK_MAX_TCP_HEADER = MAX_TCP_HEADER;
static const netdev_features_t WGK_NETIF_F_HW_CSUM = NETIF_F_HW_CSUM;
static const netdev_features_t WGK_NETIF_F_RXCSUM = NETIF_F_RXCSUM;
static const netdev_features_t WGK_NETIF_F_SG = NETIF_F_SG;
static const netdev_features_t WGK_NETIF_F_GSO = NETIF_F_GSO;
static const netdev_features_t WGK_NETIF_F_GSO_SOFTWARE = NETIF_F_GSO_SOFTWARE;
static const netdev_features_t WGK_NETIF_F_HIGHDMA = NETIF_F_HIGHDMA;
static const unsigned int WGK_GENL_MCAST_CAP_NET_ADMIN = GENL_MCAST_CAP_NET_ADMIN;
static const unsigned int WGK_SKB_DATAREF_MASK = SKB_DATAREF_MASK;

/* What NET_SKB_PAD is made of. */
static const unsigned int WGK_L1_CACHE_BYTES = L1_CACHE_BYTES;
