//go:build linux

package storetest

import (
	"os"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/store"
)

// StoreOf makes the directories of an empty store.
func StoreOf(t *testing.T) store.Home {
	t.Helper()
	h := store.Home(t.TempDir())
	for _, dir := range []string{h.Layers(""), h.Diff(""), h.Mnt("")} {
		Must(t, os.MkdirAll(dir, 0o700))
	}
	return h
}
