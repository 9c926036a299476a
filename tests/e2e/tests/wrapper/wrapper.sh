#!/bin/bash
# The steps of PanDA's pilot wrapper that a pilot can see, in their order: work directory, tarball,
# queue environment, Python, start in the background, supervisor, signals, exit codes. What is one
# site's only (CVMFS, ALRB, APF monitor) is left out.
#
# wrapper.sh -q QUEUE [-j LABEL] [-i TYPE] [-t] --piloturl URL [anything for the pilot]
# Beside the wrapper's own variables: SUPERVISOR_PERIOD (900 s), SUPERVISOR_PATIENCE (180 s).

say() { echo "$(date --utc +'%F %T,%3N [wrapper]') $*"; }

queue='' label=managed type=PR piloturl='' pilotargs=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -q) queue=$2; shift 2 ;;
    -j) label=$2; shift 2 ;;
    -i) type=$2; shift 2 ;;
    --piloturl) piloturl=$2; shift 2 ;;
    -r|-s) shift 2 ;;
    *) pilotargs+=("$1"); shift ;;
  esac
done
[[ -n $queue ]] || exit 1

on_signal() {
  if [[ $1 == 18 ]]; then
    touch pilotlog.txt
    kill -s 18 $pilotpid
  fi
  if [[ -n $pilotpid ]]; then
    say "caught signal $1, for the pilot $pilotpid"
    kill -s $1 $pilotpid
    wait
  else
    say "caught signal $1 before the pilot"
  fi
}
for pair in 2:INT 3:QUIT 7:BUS 10:USR1 11:SEGV 12:USR2 15:TERM 18:CONT 24:XCPU; do
  trap "on_signal ${pair%%:*}" SIG${pair##*:}
done

finish() {
  if [[ -n $supervisor ]]; then
    kill -s 15 $(ps -o pid= --ppid $supervisor) $supervisor > /dev/null 2>&1
  fi
  [[ $piloturl == local ]] || rm -fr "$workdir"
  say "exits with $1"
  exit $1
}

# The worker has started.
curl -sS -o worker-status.txt --connect-timeout 10 --max-time 20 \
  -H 'Accept: application/json' \
  --data-urlencode "workerID=$HARVESTER_WORKER_ID" --data-urlencode "harvesterID=$HARVESTER_ID" \
  --data-urlencode 'status=started' --data-urlencode "site=$queue" \
  --data-urlencode "node_id=$(hostname)" \
  "$PANDA_URL/server/panda/updateWorkerPilotStatus"
say "worker status: $(cat worker-status.txt)"

cricurl="file://$PWD/queuedata.json"
launched=$PWD
workdir=$(mktemp -d "${OSG_WN_TMP:-${TMPDIR:-$PWD}}/atlas_XXXXXXXX") || exit 1
[[ -f pandaJobData.out ]] && cp pandaJobData.out "$workdir"
[[ -f $PANDA_AUTH_TOKEN ]] && cp "$PANDA_AUTH_TOKEN" "$workdir"
cd "$workdir" || exit 1
say "works in $workdir"

curl --connect-timeout 30 --max-time 180 -sSL "$piloturl" | tar -xzf -
if [[ ${PIPESTATUS[0]} -ne 0 || ! -f pilot3/pilot.py ]]; then
  say 'no pilot'
  finish 64
fi
say "pilot version: $(cat pilot3/PILOTVERSION)"
ulimit -a > "$launched/limits.txt"

environ=$(curl --silent "$cricurl" | grep environ | grep -v null | awk -F'"' '{print $4}')
[[ -n $environ ]] && export $environ
resource_type=$(curl --silent "$cricurl" | grep resource_type | awk -F'"' '{print $4}')

pybin=$(which python3) || finish 1
pyver=$($pybin -c 'import sys; print("%i%02i" % (sys.version_info.major, sys.version_info.minor))')
[[ $pyver -ge 306 ]] || finish 1

# Quoting is lost here, as it is in the wrapper.
cmd="$pybin pilot3/pilot.py -q $queue -i $type -j $label ${pilotargs[*]}"
say "$cmd"

supervise() {
  while true; do
    if [[ -f pilotlog.txt ]]; then
      if [[ $(( $(date +%s) - $(stat -c %Y pilotlog.txt) )) -gt 3600 ]]; then
        say "pilotlog.txt stands still: SIGINT"
        kill -s 2 $1 > /dev/null 2>&1
        touch wrapper_sigint_$1
        sleep ${SUPERVISOR_PATIENCE:-180}
        if kill -s 0 $1 > /dev/null 2>&1; then
          say 'SIGKILL'
          kill -s 9 $1
          touch wrapper_sigkill_$1
        fi
        exit 2
      fi
    fi
    sleep ${SUPERVISOR_PERIOD:-900}
  done
}

say '==== pilot stdout BEGIN ===='
$cmd &
pilotpid=$!
supervise $pilotpid &
supervisor=$!
wait $pilotpid > /dev/null 2>&1
pilotrc=$?
say '==== pilot stdout END ===='
say "pilot exit status: $pilotrc"
if [[ -f $workdir/pilot3/pandaIDs.out ]]; then
  say "pandaids: $(xargs echo < $workdir/pilot3/pandaIDs.out | cut -d' ' -f-30)"
else
  say 'no payload'
fi

case $pilotrc in
  0) finish 0 ;;
  130) finish 2 ;;
  143) finish 1 ;;
  137) if [[ -f wrapper_sigkill_$pilotpid ]]; then finish 2; else finish 1; fi ;;
  82) if [[ $resource_type == hpc_special ]]; then finish 82; else finish 0; fi ;;
  *) finish $pilotrc ;;
esac
