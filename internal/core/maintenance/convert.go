//go:build linux

package maintenance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/migration"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// Convert brings each layer of the store at home, a driver's home directory, into aufs form, so that the storage library's own aufs driver,
// and the host's aufs without any driver, can use it. It mounts no layer, and can be called again.
//
// A layer that is mounted anywhere, or has a child that is, stays as it is: the error matches unix.EBUSY, and errors.As finds a *BusyError.
// So does a layer that has no aufs form; the error names the file. The others are converted all the same. If ctx ends, Convert stops after
// the layer that it is at.
func Convert(ctx context.Context, home string) error {
	c, err := newCheck(home)
	if err == nil {
		err = c.withoutOthers(func() ([]*store.Scratch, error) { return migration.Migrate(c.home, "", c.rubbish) })
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(c.home.Overlay(store.FormDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("aufs: converting: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, c.forms.LayerToAufs(entry.Name()))
	}
	return errors.Join(errs...)
}
