//go:build linux

package maintenance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

// TestCheckDropsWhatChanges has somebody begin to work on a layer without a lock file while Check looks at it.
func TestCheckDropsWhatChanges(t *testing.T) {
	for what, meanwhile := range map[string]func(t *testing.T, h store.Home){
		"nothing": func(*testing.T, store.Home) {},
		"the lock file is made": func(t *testing.T, h store.Home) {
			lock, err := h.LockID("layer")
			storetest.Must(t, err)
			lock.Unlock()
		},
		"the layer is removed": func(t *testing.T, h store.Home) { storetest.Must(t, os.Remove(h.Layers("layer"))) },
	} {
		t.Run(what, func(t *testing.T) {
			h := storetest.StoreOf(t)
			storetest.Write(t, string(h), storetest.Files{"layers/layer": "", "diff/layer/": "", "mnt/layer/": ""})
			c, err := newCheck(string(h))
			storetest.Must(t, err)
			broken := errors.New("broken")
			err = c.whileIdle("layer", func() error {
				c.add(WrongForm, "layer", "", "")
				meanwhile(t, h)
				return broken
			})
			if kept := errors.Is(err, broken) && len(c.problems) == 1; kept != (what == "nothing") {
				t.Errorf("%v, %v", err, c.problems)
			}
		})
	}
}

func TestRepairIsEnded(t *testing.T) {
	s := storetest.StoreOf(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	storetest.Write(t, string(s), storetest.Files{"diff/stray/f": "f"})
	if _, err := Repair(ctx, string(s)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_, err := Repair(context.Background(), string(s))
	storetest.Must(t, err)
	if _, err := os.Lstat(filepath.Join(string(s), "diff/stray")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
