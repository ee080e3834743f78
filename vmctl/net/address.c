#include "vmctl/net/address.h"

#include <stdio.h>
#include <string.h>

#define SLOTS_IP4 0xc6130000u /* 198.19.0.0/16 */

struct net_address net_address_of(unsigned number)
{
	struct net_address address;

	snprintf(address.ip4, sizeof(address.ip4), "198.19.%u.%u", number >> 8 & 255,
		 number & 255);
	snprintf(address.ip6, sizeof(address.ip6), "fd70:6666:7300:1::%x", number);
	snprintf(address.link, sizeof(address.link), "s%u", number);
	return address;
}

unsigned net_address_slot(uint32_t ip4)
{
	unsigned number = ip4 & 0xffff;

	if ((ip4 & 0xffff0000u) != SLOTS_IP4 || number < NET_SLOT_MIN ||
	    number > NET_SLOT_MAX)
		return 0;
	return number;
}

unsigned net_address_slot6(const uint8_t ip6[16])
{
	static const uint8_t slots[14] = {0xfd, 0x70, 0x66, 0x66, 0x73, 0x00, 0x00, 0x01};
	unsigned number = (unsigned)(ip6[14] << 8 | ip6[15]);

	if (memcmp(ip6, slots, sizeof(slots)) != 0 || number < NET_SLOT_MIN ||
	    number > NET_SLOT_MAX)
		return 0;
	return number;
}
