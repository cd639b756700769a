# Build tags for all that is built here, and for programs that use this
# driver. Without the first one the storage library has an aufs driver of its
# own, which claims the same name. Without the second one its btrfs driver
# needs headers of C.
TAGS := exclude_graphdriver_aufs exclude_graphdriver_btrfs
# The tests with real images are a module of their own, so that the driver
# does not depend on what they do. This tag does without a library of C.
IMAGETEST := internal/imagetest
IMAGETEST_TAGS := $(TAGS) containers_image_openpgp
# So is the example program, which has a progress bar.
EXAMPLE := example
# The same driver for go.podman.io/storage is a module of its own. Its go.mod has
# the oldest version of that library that it is for; it is tested with others as
# well, for which podman/modfiles has what go.mod would be: all of it with one,
# and the library's own tests of drivers with the newest.
PODMAN := podman
PODMAN_TAGS := $(filter-out exclude_graphdriver_aufs,$(TAGS))
PODMAN_EXAMPLE := $(PODMAN)/$(EXAMPLE)
PODMAN_IMAGETEST := $(PODMAN)/$(IMAGETEST)
PODMAN_IMAGETEST_TAGS := $(PODMAN_TAGS) containers_image_openpgp
STORAGE := v1.64.2
NEWEST_STORAGE := v1.65.0
comma := ,
space := $(subst ,, )

# The least Go version to work on all of this with, 1.MIN_GO. The drivers build
# with less: see their go.mod.
MIN_GO := 26

GO ?= go
TEST_TIMEOUT ?= 20m
# How many random sequences the differential test runs on each backend: in
# tests, and in a soak.
SEQUENCES ?= 25
SOAK_SEQUENCES ?= 1000
# In how many ways, chosen at random, each operation is interrupted by a kill,
# by a call that fails, and by a power cut, and how many system calls are
# forbidden to all operations: a number, 0 for none, or all.
STEPS ?= 2
# How long the stress tests are, each on each backend.
STRESS ?= 5s
SOAK_STRESS ?= 5m
SOAK_INPUTS ?= 100000
# How many files there are in one directory.
SOAK_NAMES ?= 1000000
# Arguments of the example program.
DEMO_ARGS ?=

# All that is built goes here, and nothing of it is kept in the repository.
BUILD := build
TOOLS := $(CURDIR)/$(BUILD)/tools
# An image, made of Debian packages; another one, or none, may be said.
OWN_IMAGE := $(CURDIR)/$(BUILD)/image
IMAGE := $(OWN_IMAGE)
override IMAGE := $(abspath $(IMAGE))
