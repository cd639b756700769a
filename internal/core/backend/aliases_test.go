//go:build linux

package backend_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests are full of these, so they have short names.

var wants = storetest.Wants
