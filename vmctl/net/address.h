/*
 * The addresses of the network behind a broker (docs/network.md).
 *
 * 198.18.0.0/15 and fd70:6666:7300::/48 are ours. The guest's side is the same in every
 * slot; slot N is 198.19.(N >> 8).(N & 255) and fd70:6666:7300:1::N in the hub.
 */
#pragma once

#include <stdint.h>

#define NET_GUEST_MAC	"02:70:66:66:73:02"
#define NET_GUEST_IP4	"198.18.0.2"
#define NET_GUEST_IP6	"fd70:6666:7300::2"
#define NET_GUEST_LOCAL "fe80::70:66ff:fe66:7302" /* made of the MAC, by RFC 4291 */

#define NET_GATEWAY_MAC "02:70:66:66:73:01"
#define NET_GATEWAY_IP4 "198.18.0.1"
#define NET_GATEWAY_IP6 "fd70:6666:7300::1"

/* Both ends of a slot's link to the hub: it is alone on it, so they may be the same in all.
 */
#define NET_SLOT_MAC "02:70:66:66:74:02"
#define NET_HUB_MAC  "02:70:66:66:74:01"

#define NET_DNS_IP4   "198.19.0.1"
#define NET_PROXY_IP4 "198.19.0.2"
#define NET_HUB_IP6   "fd70:6666:7300:1::1"

#define NET_SLOT_MIN 16
#define NET_SLOT_MAX 65000

#define NET_TAP	   "tap0"
#define NET_UPLINK "up" /* in a slot towards the hub, in the hub towards the world */

#define NET_ADDRESS_TEXT 48

/* A slot's addresses in the hub, as text. */
struct net_address {
	char ip4[NET_ADDRESS_TEXT], ip6[NET_ADDRESS_TEXT];
	char link[16]; /* the hub's end of its link */
};

/** net_address_of() - those of slot @number. */
struct net_address net_address_of(unsigned number);

/** net_address_slot() - the slot with @ip4, which is in host order, or 0. */
unsigned net_address_slot(uint32_t ip4);

/** net_address_slot6() - the slot with the address of IPv6 @ip6, or 0. */
unsigned net_address_slot6(const uint8_t ip6[16]);
