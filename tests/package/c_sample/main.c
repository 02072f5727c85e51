#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "membroker/membroker.h"

static int complain(mb_error* error) {
  fprintf(stderr, "sample: %s: %s\n", mb_status_name(mb_error_status(error)),
          mb_error_message(error));
  mb_error_drop(error);
  return 1;
}

/* What a cache of this program holds, and gives back when it is asked. */
static int64_t spill(void* context, const mb_spill_request* request) {
  (void)request;
  return mb_reservation_free(*(mb_reservation**)context);
}

/* Reserves in an embedded client until it is refused, and lets a cache spill for a query. */
int main(void) {
  mb_error* error = NULL;
  mb_client* client = NULL;
  mb_pool* pool = NULL;
  mb_consumer* cache = NULL;
  mb_consumer* query = NULL;
  mb_reservation* cached = NULL;
  mb_reservation* wanted = NULL;
  mb_close_report* report = NULL;
  mb_consumer_options cache_options = MB_CONSUMER_OPTIONS_INIT;
  mb_consumer_options query_options = MB_CONSUMER_OPTIONS_INIT;
  mb_denial denial = MB_DENIAL_INIT;
  int64_t granted = 0;

  if (mb_client_embedded((int64_t)4 << 20, &client, &error) != MB_OK) return complain(error);
  if (mb_client_pool(client, "ram", &pool, &error) != MB_OK) return complain(error);
  cache_options.name = "cache";
  cache_options.spill = spill;
  cache_options.spill_context = &cached;
  query_options.name = "query";
  if (mb_consumer_new(&cache_options, &cache, &error) != MB_OK) return complain(error);
  if (mb_consumer_new(&query_options, &query, &error) != MB_OK) return complain(error);
  if (mb_consumer_register(cache, pool, &cached, &error) != MB_OK) return complain(error);
  if (mb_consumer_register(query, pool, &wanted, &error) != MB_OK) return complain(error);

  if (mb_reservation_try_grow(cached, (int64_t)4 << 20, &error) != MB_OK) return complain(error);
  if (mb_reservation_try_grow(wanted, (int64_t)8 << 20, &error) != MB_RESOURCES_EXHAUSTED) return 2;
  if (mb_error_denial(error, &denial, NULL) != MB_OK) return 3;
  printf("refused %" PRId64 " bytes: %s\n", denial.requested_bytes, mb_error_message(error));
  mb_error_drop(error);
  if (mb_reservation_acquire(wanted, (int64_t)1 << 20, (int64_t)1 << 20, 10000, NULL, &granted,
                             &error) != MB_OK) {
    return complain(error);
  }
  printf("granted %" PRId64 " bytes after the cache has spilled\n", granted);

  mb_reservation_drop(wanted);
  mb_reservation_drop(cached);
  mb_consumer_drop(query);
  mb_consumer_drop(cache);
  mb_pool_drop(pool);
  if (mb_client_close(client, &report, &error) != MB_OK) return complain(error);
  if (mb_close_report_ended(report) != 1) return 4;
  mb_close_report_drop(report);
  mb_client_drop(client);
  return granted == (int64_t)1 << 20 ? 0 : 5;
}
