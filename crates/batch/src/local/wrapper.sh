# Runs one worker in its folder, which is the working directory. The arguments are the worker's
# command. Standard output is a pipe to whoever submitted: the process number goes there once
# everything is set up, and the pipe is closed.
exec 3>&1 </dev/null >stdout 2>stderr

# Who this is, beyond doubt: process number, its start time, the machine's boot.
read -r line </proc/$$/stat || exit 1
line=${line##*) }
start=$(set -- $line && echo "${20}")
read -r boot </proc/sys/kernel/random/boot_id || exit 1
echo "$$ $start $boot" >pid.new && mv pid.new pid || exit 1
echo "$$" >&3
exec 3>&-

# A signal is for the worker. This shell outlives it to write down how it ended.
trap : TERM INT HUP
"$@"
code=$?
echo "$code" >exit.new && mv exit.new exit
