//go:build linux

package backend_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests call this so often that it has a short name.

var wants = storetest.Wants
