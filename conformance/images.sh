#!/bin/bash
# Makes what stands in for the images that BuildKit's tests take from Docker Hub: for
# each a tree, of Debian's static busybox and some programs of this machine, and of that
# a tar archive DIR/NAME.tar. With the same programs the archives are the same.
set -euo pipefail
cd "$1"
PATH=$PATH:/usr/sbin:/sbin

# libraries ROOT PROGRAM copies the shared libraries that a program is linked with.
libraries() {
	ldd "$2" | sed -n 's,^[^/]*\(/[^ ]*\) (0x.*,\1,p' | while read -r lib; do
		mkdir -p "$1$(dirname "$lib")"
		cp -L "$lib" "$1$lib"
	done
}

script() { # ROOT PATH, and the text at standard input
	cat >"$1/$2"
	chmod 755 "$1/$2"
}

# A static busybox loads libraries to look up the names of hosts. Debian's has no adduser
# and no ttysize, and a wget that crashes where it is given a time limit: its shell would
# run that rather than a script, so it gets another name in the program.
base() { # ROOT
	mkdir -p "$1"/{bin,dev,etc,home,lib,root,tmp,usr/bin,usr/sbin,var/spool/mail,var/www}
	chmod 700 "$1/root"
	chmod 1777 "$1/tmp"
	LC_ALL=C sed 's/\x00wget\x00/\x00wgex\x00/' "$(command -v busybox)" | script "$1" bin/busybox
	libraries "$1" /bin/sh
	local dir lib
	dir=$(dirname "$(ldd /bin/sh | sed -n 's,.*\(/[^ ]*/libc\.so[^ ]*\) .*,\1,p')")
	for lib in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
		[ ! -e "$dir/$lib" ] || cp -L "$dir/$lib" "$1$dir/"
	done
	for id in root:0:/root:/bin/sh daemon:1:/usr/sbin:/bin/false bin:2:/bin:/bin/false sys:3:/dev:/bin/false \
		mail:8:/var/spool/mail:/bin/false www-data:33:/var/www:/bin/false operator:37:/var:/bin/false nobody:65534:/home:/bin/false; do
		IFS=: read -r name number home shell <<<"$id"
		echo "$name:x:$number:$number:$name:$home:$shell" >>"$1/etc/passwd"
	done
	printf '%s\n' root:x:0: daemon:x:1: bin:x:2: sys:x:3: adm:x:4: tty:x:5: disk:x:6: mail:x:8: kmem:x:9: wheel:x:10:root \
		www-data:x:33: operator:x:37: staff:x:50: users:x:100: nobody:x:65534: >"$1/etc/group"
	script "$1" bin/adduser <<-'END'
		#!/bin/sh
		# adduser -D [-u UID] [-h HOME] [-s SHELL] NAME
		uid= home= shell=/bin/sh
		while getopts Du:h:s: o; do
			case $o in u) uid=$OPTARG ;; h) home=$OPTARG ;; s) shell=$OPTARG ;; esac
		done
		shift $((OPTIND - 1))
		: "${uid:=$(awk -F: '$3 < 60000 && $3 > m {m = $3} END {print (m < 999 ? 999 : m) + 1}' /etc/passwd)}" "${home:=/home/$1}"
		echo "$1:x:$uid:$uid:$1:$home:$shell" >>/etc/passwd
		echo "$1:x:$uid:" >>/etc/group
		mkdir -p "$home" && chown "$uid:$uid" "$home"
	END
	script "$1" bin/ttysize <<-'END'
		#!/bin/sh
		set -- $(stty size)
		echo "$2 $1"
	END
	script "$1" bin/wget <<-'END'
		#!/bin/sh
		set -o pipefail
		limit=
		for a; do
			shift
			case $limit in
			next) limit=$a ;;
			*) if [ "$a" = -T ]; then limit=next; else set -- "$@" "$a"; fi ;;
			esac
		done
		{ ${limit:+timeout $limit} busybox wgex "$@" 2>&1 1>&3 | sed 's/^wgex:/wget:/' >&2; } 3>&1
	END
}

applets() { busybox --list | grep -vxE 'busybox|wget'; }

base busybox
for a in $(applets); do ln busybox/bin/busybox "busybox/bin/$a"; done
ln -s ../../bin/env busybox/usr/bin/env

cp -a busybox musl
echo musl >musl/etc/variant

cp -a busybox scanner
script scanner bin/scan <<'EOF2'
#!/bin/sh
# Stands in for BuildKit's SBOM scanner: it names the files of the image and of each
# further directory.
set -e
for d in "$BUILDKIT_SCAN_SOURCE" "$BUILDKIT_SCAN_SOURCE_EXTRAS"/*; do
	[ -d "$d" ] || continue
	name=$(basename "$d")
	{
		echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document",'
		echo '"predicate":{"spdxVersion":"SPDX-2.3","name":"'"$name"'","files":['
		find "$d" -xdev -type f | sort | sed "s,^$d\\(.*\\),{\"fileName\":\"\\1\"}," | paste -sd ,
		echo ']}}'
	} >"$BUILDKIT_SCAN_DESTINATION/$name.spdx.json"
done
EOF2

base alpine
mkdir -p alpine/{etc/apk/have,etc/ssl/certs,media,mnt,opt,proc,run,sbin,srv,sys,usr/local/bin,usr/share,var/cache,var/lib,var/log,var/tmp}
for a in $(applets); do ln -s /bin/busybox "alpine/bin/$a"; done
for a in env id test head tail sort; do ln -s /bin/busybox "alpine/usr/bin/$a"; done
mv alpine/bin/adduser alpine/usr/sbin/adduser
echo 'root:*::0:::::' >alpine/etc/shadow
chmod 640 alpine/etc/shadow
echo 3.18.12 >alpine/etc/alpine-release
printf '%s\n' 'NAME="Alpine Linux"' ID=alpine VERSION_ID=3.18.12 'PRETTY_NAME="what stands in for Alpine Linux"' >alpine/etc/os-release
printf '127.0.0.1\tlocalhost\n' >alpine/etc/hosts
: >alpine/etc/ssl/certs/ca-certificates.crt
for tool in openssh:ssh-add openssh:ssh-keygen git:git curl:curl; do
	name=${tool#*:}
	cp -L "$(command -v "$name")" "alpine/usr/bin/$name"
	libraries alpine "$(command -v "$name")"
	touch "alpine/etc/apk/have/${tool%:*}"
done
touch alpine/etc/apk/have/openssh-client-default
script alpine sbin/apk <<'EOF2'
#!/bin/sh
# "Installs" what the image has.
[ "$1" != update ] || exit 0
[ "$1" = add ] || { echo "apk: no $1 here" >&2; exit 1; }
for p; do
	case $p in -* | add) continue ;; esac
	[ -e "/etc/apk/have/$p" ] || { echo "ERROR: unable to select packages: $p (no such package)" >&2; exit 1; }
done
EOF2
script alpine usr/bin/ssh-keyscan <<<'#!/bin/sh'
script alpine usr/bin/ssh <<'EOF2'
#!/bin/sh
# Asks the agent for its keys, as ssh does, and takes some time.
ssh-add -l
sleep 1
EOF2

mkdir regular foreign
echo regular >regular/regular
echo foreign >foreign/foreign

for d in */; do
	tar --create --file "${d%/}.tar" --directory "$d" --sort=name --owner=0 --group=0 --numeric-owner --mtime=2024-01-02 --format=gnu .
done
