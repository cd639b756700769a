# Settings of vmtest. They ignore variables of the environment, whose names may be the
# same by accident: that is why they are not set with ?=.
KERNEL =
ARCH = amd64
BUSYBOX = /bin/busybox
MODULES =
AUPLINK =
FS = ext4
SEED = 0
BACKENDS = aufs overlay
LIBRARIES = containers podman
RUN =
TIMEOUT = 90m
MEM = 2G
CORES = 2
DISK = 4G
ACCEL = tcg
DENY =
KEEP =
VERBOSE =

#: vmtest KERNEL=bzImage [FS=ext4|xfs|btrfs|tmpfs] [BACKENDS="aufs overlay"] [RUN=regexp]
#:        [ARCH=amd64|arm64] [BUSYBOX=/bin/busybox] [LIBRARIES="containers podman"] [MODULES=directory] [AUPLINK=program] [IMAGE=] [SEQUENCES=25] [SEED=0] [STEPS=2|all] [STRESS=5s] [TIMEOUT=90m] [MEM=2G] [CORES=2] [DISK=4G] [ACCEL=tcg|kvm] [DENY="call ..."] [KEEP=1] [VERBOSE=1]
.PHONY: vmtest
vmtest: check-go programs ## Run the tests and the example on another kernel, in QEMU
	@[ -f '$(KERNEL)' ] || { echo 'No kernel: say KERNEL=path/to/bzImage (it is "$(KERNEL)").' >&2; exit 1; }
	@$(MAKE) --no-print-directory vmtest-deps $(if $(filter $(OWN_IMAGE),$(IMAGE)),image) FS='$(FS)' ARCH='$(ARCH)'
	@$(GO) build -o $(BUILD)/vmtest ./internal/vmtest
	@exec $(BUILD)/vmtest -kernel '$(KERNEL)' -arch '$(ARCH)' -busybox '$(BUSYBOX)' -modules '$(MODULES)' -auplink '$(AUPLINK)' -image '$(IMAGE)' -fs '$(FS)' -backends '$(BACKENDS)' -libraries '$(LIBRARIES)' -run '$(value RUN)' \
		-sequences '$(SEQUENCES)' -seed '$(SEED)' -steps '$(STEPS)' -stress '$(STRESS)' -timeout '$(TIMEOUT)' -mem '$(MEM)' -cores '$(CORES)' -disk '$(DISK)' -accel '$(ACCEL)' -deny '$(DENY)' \
		$(if $(KEEP),-keep) $(if $(VERBOSE),-v)

# Debian's own kernel and busybox for the processor ARCH, unpacked.
STOCK = $(BUILD)/stock-$(ARCH)

# The kernel that Debian's package linux-image-ARCH depends on. It is unpacked, not
# installed. Root tells dpkg of the processor, so that apt-get finds its packages.
$(BUILD)/stock-%/kernel.deb:
	@need=; \
	$(call missing,command -v apt-get,apt); \
	$(install-missing)
	@[ "$$(id -u)" != 0 ] || { dpkg --add-architecture $* && apt-get -qq update >&2; }
	$(call download,$(@D),\
		busybox-static:$* $$(apt-cache depends linux-image-$*:$* | awk '$$1 == "Depends:" && $$2 ~ /^linux-image-/ { print $$2; exit }'))
	dpkg-deb --extract $(@D)/busybox-static_*.deb $(@D)
	dpkg-deb --extract $(@D)/linux-image-*.deb $(@D)
	mv $(@D)/linux-image-*.deb $@

# Debian's kernel has overlayfs and no aufs. These tests show that the virtual machine
# works when no kernel with aufs is at hand. The tests of quotas are among them because
# many hosts have no project quotas. They do without system calls that Linux 5.4 does not
# have, and so do tests of looking up files. "make test" runs all tests on the host, with
# all calls.
STOCK_RUN = TestGraph|TestInit|TestQuota|TestListing|TestDeepFile
STOCK_DENY = openat2 mount_setattr quotactl_fd
#: vmtest-stock [ARCH=amd64|arm64] [STOCK_RUN=regexp] [STOCK_DENY="call ..."]
.PHONY: vmtest-stock
vmtest-stock: $(STOCK)/kernel.deb ## Run the tests on Debian's own kernel, in QEMU
	@$(MAKE) --no-print-directory vmtest KERNEL="$$(echo $(STOCK)/boot/vmlinuz-*)" MODULES=$(STOCK)/lib/modules ARCH='$(ARCH)' BUSYBOX=$(STOCK)/bin/busybox \
		BACKENDS=overlay LIBRARIES=containers DENY='$(STOCK_DENY)' RUN='$(value STOCK_RUN)' SEQUENCES=3 STEPS=0 STRESS=1s IMAGE=
