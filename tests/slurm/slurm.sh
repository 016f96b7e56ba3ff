#!/bin/sh
# A Slurm of one node on this machine, for tests: `slurm.sh start DIR`, `slurm.sh stop DIR`. As root, on Debian or Ubuntu.
# Installs slurm-wlm and munge if they are missing. Configuration, state and logs lie in DIR, so no Slurm that is set up
# here is touched; but if one runs here, there is no need for this one. Clients find it by SLURM_CONF=DIR/slurm.conf.
set -eu

start() {
  if ! command -v slurmctld munged >/dev/null; then
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends slurm-wlm munge
  fi
  host=$(hostname -s)
  mkdir -p "$dir/state" "$dir/spool"
  cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=20
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=10
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  if ! munge --no-input >/dev/null 2>&1; then
    for each in /run/munge /var/log/munge /var/lib/munge; do
      mkdir -p "$each"
      chown munge: "$each"
    done
    runuser -u munge -- munged --force
    cp /run/munge/munged.pid "$dir/munged.pid"
  fi
  export SLURM_CONF="$dir/slurm.conf"
  slurmctld
  slurmd
  for _ in $(seq 30); do
    if sinfo --noheader --format=%t 2>/dev/null | grep --quiet idle; then exit; fi
    sleep 1
  done
  echo "Slurm did not come up; its logs are in $dir." >&2
  exit 1
}

stop() {
  for daemon in slurmd slurmctld munged; do
    if pid=$(cat "$dir/$daemon.pid" 2>/dev/null); then
      kill "$pid" || true
      while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    fi
  done
}

dir=$(realpath -m "$2")
"$1"
