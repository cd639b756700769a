//go:build linux

package fsutil_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests are full of these, so they have short names.

var must = storetest.Must
