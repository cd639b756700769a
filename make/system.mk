# An installed Debian system, in which programs run that somebody else has built. Its release
# is newer than that of many hosts because podman 6 needs a newer crun.
SYSTEM := $(BUILD)/system
SYSTEM_RELEASE := trixie
SYSTEM_PACKAGES := attr,bats,busybox-static,bzip2,ca-certificates,catatonit,conmon,crun,e2fsprogs,file,golang-github-containers-common,iproute2,jq,libcap2-bin,netavark,openssl,procps,uidmap,util-linux,xfsprogs,xz-utils,zstd

.PHONY: system
system: $(SYSTEM)/.made ## Install a Debian system in a directory, as root
$(SYSTEM)/.made: make/system.mk
	@need=; \
	$(call missing,command -v debootstrap || [ -x /usr/sbin/debootstrap ],debootstrap); \
	$(install-missing)
	mkdir -p $(BUILD); rm -rf $(SYSTEM)
	PATH=$$PATH:/usr/sbin:/sbin unshare --mount debootstrap --variant=minbase --include=$(SYSTEM_PACKAGES) $(SYSTEM_RELEASE) $(CURDIR)/$(SYSTEM) >$(BUILD)/debootstrap.log || { tail -n 20 $(BUILD)/debootstrap.log >&2; false; }
	rm -rf $(SYSTEM)/var/cache/apt/archives/*.deb $(SYSTEM)/var/lib/apt/lists/*
	printf '// Go files of the system are no packages of the module above.\nmodule build\n' >$(BUILD)/go.mod
	touch $@

# $(call run-in-system,DIRECTORY,COMMAND): a shell command that makes a copy of the system, in
# which / also has the content of DIRECTORY, and runs COMMAND there: on KERNEL, with a /tmp that
# is an FS, or without KERNEL on this host, in namespaces of its own.
run-in-system = rm -rf $(1).system $(1).tmp && mkdir $(1).tmp && cp -a --reflink=auto $(SYSTEM) $(1).system && cp -a $(1)/. $(1).system/ && \
	$(if $(KERNEL),$(run-on-kernel),$(run-on-host))
run-on-kernel = $(BUILD)/vmtest -kernel '$(KERNEL)' -modules '$(MODULES)' -fs '$(FS)' -backends '$(BACKENDS)' -timeout '$(TIMEOUT)' \
	-mem '$(MEM)' -cores '$(CORES)' -disk '$(DISK)' -accel '$(ACCEL)' $(if $(KEEP),-keep) -system $(1).system -command $(2)
# podman makes its cgroups in the hierarchy of the host, and leaves some that are empty.
run-on-host = unshare --mount --pid --ipc --net --fork --kill-child bash -euc ' \
	mount --bind $(1).system $(1).system; \
	cd $(1).system; \
	mount -t proc proc proc; \
	mount -t sysfs sysfs sys; \
	mount -t cgroup2 cgroup2 sys/fs/cgroup; \
	mount --rbind /dev dev; \
	mount -t tmpfs tmpfs run; \
	mount --bind ../$(notdir $(1)).tmp tmp; \
	pivot_root . mnt; \
	umount --lazy mnt; \
	cd /root; \
	ip link set lo up; \
	status=0; \
	env -i HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/tmp bash -c "$$0" || status=$$?; \
	find /sys/fs/cgroup/libpod_parent /sys/fs/cgroup/conmon -depth -type d -exec rmdir {} + 2>/dev/null || true; \
	exit $$status' $(2)

# What the programs of run-in-system need.
.PHONY: system-deps
system-deps: system
	@$(if $(KERNEL),for fs in ext4 '$(FS)'; do $(MAKE) --no-print-directory vmtest-deps FS=$$fs; done; $(GO) build -o $(BUILD)/vmtest ./internal/vmtest)

# Programs that were built with the driver, and the driver's option backend.
PODMAN =
BUILDAH =
CLIENT_BACKEND ?= auto
CLIENT_STEPS ?=
# The directory test/system of podman's source, and a regular expression of the files to run.
PODMAN_TESTS =
PODMAN_TEST_FILES ?=
#: clienttest PODMAN=program [CLIENT_BACKEND=auto|aufs|overlay] [CLIENT_STEPS=regexp] [PODMAN_TESTS=directory] [PODMAN_TEST_FILES=regexp] [BUILDAH=program] [KERNEL=bzImage for amd64, and as vmtest]
.PHONY: clienttest
clienttest: check-go ## Run a life of containers with podman, with this driver and with overlay, as root
	@[ -x '$(PODMAN)' ] || { echo 'No podman: say PODMAN=path/to/podman (it is "$(PODMAN)").' >&2; exit 1; }
	@$(MAKE) --no-print-directory system-deps
	@rm -rf $(BUILD)/clienttest && mkdir -p $(BUILD)/clienttest/clients
	@CGO_ENABLED=0 $(GO) build -o $(BUILD)/clienttest/clients/clienttest ./internal/clienttest
	@mkdir $(BUILD)/clienttest/etc; echo containers:1000000:1000000000 | tee $(BUILD)/clienttest/etc/subuid >$(BUILD)/clienttest/etc/subgid
	@cp '$(PODMAN)' $(BUILD)/clienttest/clients/podman
	@testing='$(dir $(PODMAN))podman-testing'; [ ! -x "$$testing" ] || cp "$$testing" $(BUILD)/clienttest/clients/
	@$(if $(PODMAN_TESTS),cp -rL '$(PODMAN_TESTS)' $(BUILD)/clienttest/clients/tests)
	@$(if $(BUILDAH),cp '$(BUILDAH)' $(BUILD)/clienttest/clients/buildah)
	@$(call run-in-system,$(BUILD)/clienttest,'mkdir /tmp/clients; /clients/clienttest -dir /tmp/clients -podman /clients/podman \
		-backend "$(CLIENT_BACKEND)" -steps "$(value CLIENT_STEPS)" $(if $(VERBOSE),-v) \
		$(if $(PODMAN_TESTS),-tests /clients/tests $(if $(PODMAN_TEST_FILES),-files "$(value PODMAN_TEST_FILES)")) $(if $(BUILDAH),-buildah /clients/buildah)')
