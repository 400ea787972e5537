# A worker that loses nothing: BLMOVE puts a job into the list of those in hand in the same step in which it takes it, and it leaves that
# list when it is done. On SIGTERM the job in hand is finished, and no further one taken.
trap 'stopping=1' TERM
while [ -z "$stopping" ]; do
  job=$(redis-cli -u "$REDIS_URL" BLMOVE jobs jobs:processing LEFT RIGHT 1)
  [ -z "$job" ] && continue
  echo "job $job"
  sleep 0.5
  redis-cli -u "$REDIS_URL" LREM jobs:processing 1 "$job" > /dev/null
done
