//go:build linux

package aufs

import (
	"slices"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"golang.org/x/sys/unix"
)

func TestParseConfig(t *testing.T) {
	c, err := parseConfig(graphdriver.Options{})
	if err != nil || c.Backend != backend.Aufs {
		t.Errorf("the default is %+v, %v", c, err)
	}
	c, err = parseConfig(graphdriver.Options{DriverOptions: []string{"AUFS.mountopt=nodev,udba=none", "aufs.backend=auto"}})
	if err != nil || c.Backend != backend.Auto || c.Mount.Flags != unix.MS_NODEV || !slices.Equal(c.Mount.Data, []string{"udba=none"}) {
		t.Errorf("got %+v, %v", c, err)
	}
	for option, words := range map[string][]string{
		"aufs.backend=zfs":  {"zfs", "aufs, overlay or auto"},
		"aufs.nothing=1":    {"aufs.nothing"},
		"other.mountopt=ro": {"other.mountopt"},
		"aufs.mountopt=foo": {"aufs.mountopt", `"foo"`},
		"junk":              {"junk"},
	} {
		t.Run(option, func(t *testing.T) {
			_, err := parseConfig(graphdriver.Options{DriverOptions: []string{option}})
			wants(t, err, nil, words...)
		})
	}
}
