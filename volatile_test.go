//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
)

// TestVolatile checks that a mount is volatile if the library asks for that for the container, or mountopt for all
// containers, and the driver supports it.
func TestVolatile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, c := range map[string]struct {
			mountopt string
			options  graphdriver.MountOpts
			want     bool
		}{
			"ordinary":     {want: false},
			"volatile":     {options: graphdriver.MountOpts{Volatile: true}, want: true},
			"by an option": {options: graphdriver.MountOpts{Options: []string{"volatile"}}, want: true},
			"by mountopt":  {mountopt: "volatile", want: true},
		} {
			t.Run(what, func(t *testing.T) {
				d := newDriver(t, name, "aufs.mountopt="+c.mountopt)
				supported := slices.Contains(d.Status(), [2]string{"Supports volatile", "true"})
				must(t, d.Create("base", "", nil))
				must(t, d.CreateReadWrite("child", "base", nil))
				dir, err := d.Get("child", c.options)
				// An old kernel's overlayfs refuses it where it is asked for in so many words.
				refused := name == backend.Overlay && !supported && (c.mountopt != "" || len(c.options.Options) > 0)
				if refused && err != nil {
					return
				}
				if refused {
					t.Error("it was not refused")
				}
				must(t, err)
				must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
				mounts, err := mountutil.MountsUnder(filepath.Dir(dir))
				if err != nil || len(mounts) != 1 {
					t.Fatalf("%v, %v", mounts, err)
				}
				// Newer kernels show fsync=volatile.
				got := strings.HasSuffix(mounts[0].VFSOptions, "volatile") || strings.Contains(mounts[0].VFSOptions, "volatile,")
				if want := c.want && supported; got != want {
					t.Errorf("volatile: %v, and should be %v: %s", got, want, mounts[0].VFSOptions)
				}
				must(t, d.Put("child"))
			})
		}
	})
}
