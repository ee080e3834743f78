#include "vmctl/names/slots.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* fd70:6666:7300:1:: but for the number at its end. */
static const uint8_t prefix6[14] = {0xfd, 0x70, 0x66, 0x66, 0x73, 0x00, 0x00, 0x01};

/* Return: the number of the slot that a message is about, or -1. */
static int number_of(const json_t *message)
{
	const json_t *number = json_object_get(message, "slot");
	json_int_t value = json_integer_value(number);

	return json_is_integer(number) && value >= 0 && value < SLOTS_MAX ? (int)value : -1;
}

struct slot *slots_set(struct slots *slots, const json_t *message, struct error *err)
{
	int number = number_of(message);
	struct policy *policy;

	if (number < 0) {
		error_say(err, EINVAL, "a policy has no slot");
		return NULL;
	}
	policy = policy_from_json(json_object_get(message, "policy"), err);
	if (!policy)
		return NULL;
	if (!slots->at[number])
		slots->at[number] = calloc(1, slots->size);
	if (!slots->at[number]) {
		policy_unref(policy);
		error_set(err, ENOMEM, "cannot keep the policy of slot %d", number);
		return NULL;
	}
	slots->at[number]->number = (uint16_t)number;
	policy_unref(slots->at[number]->policy);
	slots->at[number]->policy = policy;
	return slots->at[number];
}

struct slot *slots_of_message(const struct slots *slots, const json_t *message)
{
	int number = number_of(message);

	return number < 0 ? NULL : slots->at[number];
}

static struct slot *of_four(const struct slots *slots, struct in_addr address)
{
	uint32_t host = ntohl(address.s_addr);

	return host >> 16 == (198u << 8 | 19u) ? slots->at[host & 0xffff] : NULL;
}

static struct slot *of_six(const struct slots *slots, const struct in6_addr *address)
{
	const uint8_t *bytes = address->s6_addr;

	if (memcmp(bytes, prefix6, sizeof(prefix6)) != 0)
		return NULL;
	return slots->at[bytes[14] << 8 | bytes[15]];
}

struct slot *slots_of_address(const struct slots *slots, const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return of_four(slots, ((const struct sockaddr_in *)address)->sin_addr);
	if (address->sa_family == AF_INET6)
		return of_six(slots, &((const struct sockaddr_in6 *)address)->sin6_addr);
	return NULL;
}

void slots_drop(struct slots *slots, struct slot *slot)
{
	slots->at[slot->number] = NULL;
	policy_unref(slot->policy);
	free(slot);
}
