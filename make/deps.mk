.PHONY: check-go
check-go:
	@command -v $(GO) >/dev/null || { echo 'Go is not installed; 1.$(MIN_GO) or newer is needed.' >&2; exit 1; }
	@version=$$($(GO) env GOVERSION); \
	if [[ $$version =~ ^go1\.([0-9]+) ]] && (( BASH_REMATCH[1] < $(MIN_GO) )); then \
		echo "Go 1.$(MIN_GO) or newer is needed, and this is $$version." >&2; exit 1; \
	fi

# $(call missing,COMMAND,PACKAGE): a shell command that adds a Debian package to
# $need if COMMAND fails.
missing = { $(1); } >/dev/null 2>&1 || need+=' $(2)'
# Installs the packages in $need.
define install-missing
if [ -n "$$need" ]; then \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Missing, by the names of Debian's packages:$$need" >&2; exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update >&2; \
	apt-get -qq -y --no-install-recommends install $$need >&2; \
fi
endef

# The race detector needs a C compiler. The tests need unshare.
.PHONY: test-deps
test-deps:
	@need=; \
	$(call missing,echo '#include <stdlib.h>' | gcc -E -,gcc libc6-dev); \
	$(call missing,command -v unshare,util-linux); \
	$(install-missing)

.PHONY: vmtest-deps
vmtest-deps:
	@need=; \
	case '$(ARCH)' in \
	arm64) $(call missing,command -v qemu-system-aarch64,qemu-system-arm) ;; \
	*) $(call missing,command -v qemu-system-x86_64,qemu-system-x86) ;; \
	esac; \
	$(call missing,[ -x /bin/busybox ] && ! ldd /bin/busybox,busybox-static); \
	case '$(FS)' in \
	ext4) $(call missing,[ -x /sbin/mkfs.ext4 ],e2fsprogs) ;; \
	xfs) $(call missing,[ -x /sbin/mkfs.xfs ],xfsprogs) ;; \
	btrfs) $(call missing,[ -x /sbin/mkfs.btrfs ],btrfs-progs) ;; \
	esac; \
	$(install-missing)

# $(call download,DIRECTORY,PACKAGES): a shell command that downloads Debian
# packages and does not install them. If root calls apt-get, it downloads as another
# user, who may have no access to the directory. The option keeps it root.
download = rm -rf $(1) && mkdir -p $(1) && cd $(1) && apt-get -qq -o APT::Sandbox::User=root download $(2)
