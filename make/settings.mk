# Build tags of the driver, and of programs that use it. The first tag leaves out
# the storage library's own aufs driver, which claims the same name. The second
# tag leaves out its btrfs driver, which needs C headers.
TAGS := exclude_graphdriver_aufs exclude_graphdriver_btrfs
# The tests with real images are a module of their own, so that the driver does
# not depend on the modules that they need. The third tag leaves out a C library.
IMAGETEST := internal/imagetest
IMAGETEST_TAGS := $(TAGS) containers_image_openpgp
# The example program is a module of its own because it needs a progress bar.
EXAMPLE := example
# The driver for go.podman.io/storage is a module of its own. Its go.mod requires
# the oldest version of that library which it supports. All its tests also run with
# STORAGE and NEWEST_STORAGE. Each of these versions has a go.mod in podman/modfiles, and
# the tests of how they read storage.conf need a tag.
# Its example program and its tests with real images are made from those of this
# module, below $(BUILD).
SECOND := podman
PODMAN_TAGS := $(filter-out exclude_graphdriver_aufs,$(TAGS))
PODMAN_EXAMPLE = $(BUILD)/podman/$(EXAMPLE)
PODMAN_IMAGETEST = $(BUILD)/podman/$(IMAGETEST)
PODMAN_IMAGETEST_TAGS := $(PODMAN_TAGS) containers_image_openpgp
PODMAN_NEWER_TAGS := $(PODMAN_TAGS) storage_v1.63
STORAGE := v1.63.0
NEWEST_STORAGE := v1.65.1
comma := ,
space := $(subst ,, )

# The oldest Go version to work on this repository is 1.MIN_GO. The drivers build
# with older versions: see their go.mod.
MIN_GO := 26

GO ?= go
TEST_TIMEOUT ?= 20m
# How many random sequences the differential test runs on each backend.
SEQUENCES ?= 25
SOAK_SEQUENCES ?= 1000
# In how many random places each operation is interrupted by a kill, by a failing call
# and by a power cut, and how many system calls are denied to all operations. It is a
# number, or "all".
STEPS ?= 2
# How long each stress test runs on each backend.
STRESS ?= 5s
SOAK_STRESS ?= 5m
SOAK_INPUTS ?= 100000
# How many files the test of many names has in one directory.
SOAK_NAMES ?= 1000000
# The moves of a store are interrupted 18 times as often in make soak.
SOAK_MOVES ?= 100
# Arguments of the example program.
DEMO_ARGS ?=

# Everything that is built goes here. git ignores it.
BUILD := build
TOOLS := $(CURDIR)/$(BUILD)/tools
# The image for the tests, made of Debian packages. IMAGE may name another one, or be
# empty for none.
OWN_IMAGE := $(CURDIR)/$(BUILD)/image
IMAGE := $(OWN_IMAGE)
override IMAGE := $(abspath $(IMAGE))
