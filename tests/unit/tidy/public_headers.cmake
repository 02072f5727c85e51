# Every header a user may include; tidy_test compares the list with the folders, and each is compiled
# alone.
set(MEMBROKER_PUBLIC_HEADERS
  client/include/membroker/allocator.h
  client/include/membroker/buffer.h
  client/include/membroker/c/base.h
  client/include/membroker/c/buffer.h
  client/include/membroker/c/client.h
  client/include/membroker/c/consumer.h
  client/include/membroker/c/pool.h
  client/include/membroker/c/spill.h
  client/include/membroker/client.h
  client/include/membroker/deadline.h
  client/include/membroker/detail/credit_shard.h
  client/include/membroker/membroker.h
  client/include/membroker/memory_pool.h
  client/include/membroker/pool_metrics.h
  client/include/membroker/pool_watch.h
  client/include/membroker/spill.h
  client/include/membroker/testing.h
  shared/include/membroker/error.h)
