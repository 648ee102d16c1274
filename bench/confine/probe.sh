# Says what a step may do and see, a fact a line: a name, a tab, and what it is.
say() { printf '%s\t%s\n' "$1" "$2"; }
b=/bin/busybox

while read -r name value; do
	case $name in
	Cap*|Seccomp:|NoNewPrivs:|Uid:|Gid:|Groups:|Umask:|Speculation*) say "status ${name%:}" "$(echo $value)" ;;
	esac
done < /proc/self/status
for ns in /proc/self/ns/*; do say "namespace ${ns##*/}" "$($b readlink "$ns")"; done
# ID, parent, device, root, mount point, options, optional fields, "-", type, source, super options.
while read -r _ _ _ root point options rest; do
	fields=${rest%%- *}
	set -- ${rest#*- }
	say "mount $point" "type=$1 root=$root options=$options propagation=${fields:-private} super=$3"
done < /proc/self/mountinfo
for f in /dev/* /dev/.*; do
	case $f in /dev/.|/dev/..|/dev/.init) continue ;; esac
	[ -e "$f" ] || [ -L "$f" ] || continue
	say "device $f" "$($b stat -c '%F %a %u:%g %t:%T' "$f") $($b readlink "$f")"
done
for f in oom_score_adj setgroups cgroup attr/current timerslack_ns coredump_filter personality; do
	say "process $f" "$($b cat /proc/self/$f 2>&1 | $b tr '\n\000' '; ')"
done
say "process uid_map" "$(echo $($b cat /proc/self/uid_map))"
say "process gid_map" "$(echo $($b cat /proc/self/gid_map))"
$b sed -n '2,$ s/^\(.\{25\}\) */limit \1\t/p' /proc/self/limits | $b sed 's/ *\t/\t/'
for v in $($b env | $b cut -d= -f1 | $b sort); do
	case $v in _|SHLVL) continue ;; esac
	eval "say \"variable $v\" \"\$$v\""
done
say "umask" "$(umask)"
say "hostname" "$($b hostname)"
say "directory" "$PWD"
say "process 1" "$($b tr '\000' ' ' < /proc/1/cmdline | $b cut -d' ' -f1)"
for f in /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/vm/overcommit_memory /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/transparent_hugepage/enabled /sys/fs/cgroup/cgroup.procs; do
	if ( : >> $f ) 2>/dev/null; then say "writes $f" yes; else say "writes $f" no; fi
done
for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/latency_stats /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
	if [ -d $f ]; then say "sees $f" "$($b ls -A $f | $b wc -l | $b tr -d ' ') files"
	elif [ -e $f ]; then say "sees $f" "$($b head -c 16 $f 2>/dev/null | $b wc -c | $b tr -d ' ') bytes"
	else say "sees $f" absent; fi
done
try() { what=$1; shift; if "$@" >/dev/null 2>&1; then say "can $what" yes; else say "can $what" no; fi; }
try mount $b mount -t tmpfs tmpfs /mnt
try "make a device" $b mknod /tmp/disk b 254 0
try unshare $b unshare -m true
try "unshare a user" $b unshare -U true
try "change the hostname" $b hostname other
try "use a raw socket" $b ping -c 1 -W 1 127.0.0.1
try "write the root" $b touch /written
for f in /etc/hosts /etc/resolv.conf; do say "file $f" "$($b stat -c '%F %a %u:%g' $f)"; done
