/*
 * The document that describes all of this: pffs/api/openapi.json, in the program.
 */
#include "pffs/api/reply.h"

#include <string.h>

static const char document[] =
#include "pffs/api/openapi.hex"
    ;

static void get(struct request *r)
{
	reply_bytes(r, MHD_HTTP_OK, "application/json", strdup(document),
		    sizeof(document) - 1);
}

const struct route openapi_routes[] = {
    {"GET", "/v1/openapi.json", get, ROUTE_OPEN},
    {0},
};
