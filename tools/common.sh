# SPDX-License-Identifier: Apache-2.0
# What quickstart and test share: where things are, how they speak, and Debian packages. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
if [ ! -t 1 ]; then say() { printf '\n==> %s\n' "$*"; }; fi
note() { printf '    %s\n' "$*"; }
die() { printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# missing_packages WHO...: the packages of packages.txt for these who are not installed.
missing_packages() {
	local name who wanted
	while read -r name who _; do
		case "$name" in ''|'#'*) continue ;; esac
		for wanted in "$@"; do
			if [ "$who" = "$wanted" ] && ! installed "$name"; then
				echo "$name"
			fi
		done
	done < "$ROOT/tools/packages.txt"
}

installed() {
	case "$1" in
	nodejs) ! command -v node >/dev/null || return 0 ;; # may be there from elsewhere, with its own npm
	npm) ! command -v npm >/dev/null || return 0 ;;
	esac
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need_packages WHO...: install what is missing, by apt-get, and nothing else.
need_packages() {
	local missing
	command -v apt-get >/dev/null || die "this needs Debian 12 (apt-get); on another system install what tools/packages.txt lists"
	mapfile -t missing < <(missing_packages "$@")
	if [ ${#missing[@]} -eq 0 ]; then
		note "all packages are installed"
		return
	fi
	note "missing: ${missing[*]}"
	local root=()
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "installing packages needs root: run 'apt-get install ${missing[*]}' as root, then this again"
		root=(sudo)
	fi
	"${root[@]}" apt-get -q -o Acquire::Retries=3 update >/dev/null || note "apt-get update failed; trying with the lists that are there"
	install_quietly "${missing[@]}"
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -eq 0 ] || die "these packages could not be installed: ${missing[*]}"
}

# Services that come with packages (prometheus, its node exporter) must not be started here: apt is told so by policy-rc.d.
install_quietly() {
	local policy=/usr/sbin/policy-rc.d ours=
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
		"${root[@]}" chmod 755 "$policy"
		ours=1
	fi
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >/dev/null || {
		[ -z "$ours" ] || "${root[@]}" rm -f "$policy"
		die "apt-get install failed for: $*"
	}
	[ -z "$ours" ] || "${root[@]}" rm -f "$policy"
	if [ -d /run/systemd/system ]; then
		local service
		for service in prometheus prometheus-node-exporter; do
			"${root[@]}" systemctl disable --now "$service" >/dev/null 2>&1 || true
		done
	fi
}
