//go:build linux

package backend_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"golang.org/x/sys/unix"
)

func TestParseMountOptions(t *testing.T) {
	for _, c := range []struct {
		options []string
		flags   uintptr
		data    []string
	}{
		{nil, 0, nil},
		{[]string{""}, 0, nil},
		{[]string{"ro"}, unix.MS_RDONLY, nil},
		{[]string{"ro", "ro"}, unix.MS_RDONLY, nil},
		{[]string{"rw", "dev", "suid", "exec"}, 0, nil},
		{[]string{"nodev,nosuid", "noexec"}, unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC, nil},
		{[]string{"noatime", "nodiratime", "sync"}, unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_SYNCHRONOUS, nil},
		{[]string{"udba=none, nodev"}, unix.MS_NODEV, []string{"udba=none"}},
		{[]string{"nodio", "nodirperm1", "diropq=w"}, 0, []string{"nodio", "nodirperm1", "diropq=w"}},
		{[]string{"udba=none", "udba=none"}, 0, []string{"udba=none"}},
	} {
		t.Run(strings.Join(c.options, ";"), func(t *testing.T) {
			o, err := backend.ParseMountOptions(c.options)
			if err != nil {
				t.Fatal(err)
			}
			if o.Flags != c.flags || !slices.Equal(o.Data, c.data) {
				t.Errorf("got %#x %q, want %#x %q", o.Flags, o.Data, c.flags, c.data)
			}
		})
	}
}

func TestParseMountOptionsRefuses(t *testing.T) {
	for _, c := range []struct {
		options string
		words   []string
	}{
		{"ro,rw", []string{`"ro"`, `"rw"`, "contradict"}},
		{"nodev,dev", []string{`"nodev"`, `"dev"`}},
		{"dio,nodio", []string{`"dio"`, `"nodio"`, "contradict"}},
		{"udba=none,udba=reval", []string{`"udba=none"`, `"udba=reval"`}},
		{"xino=/tmp/x", []string{`"xino=/tmp/x"`, "only the driver"}},
		{"br:/a=rw", []string{"br:/a=rw"}},
		{"append=/a", []string{"append=/a", "only the driver"}},
		{"context=x", []string{"context=x", "only the driver"}},
		{"metacopy=on", []string{`"metacopy=on"`, "not known"}},
		{"volatile", []string{`"volatile"`, "not known"}},
		{"ro=1", []string{`"ro=1"`}},
	} {
		t.Run(c.options, func(t *testing.T) {
			_, err := backend.ParseMountOptions([]string{c.options})
			wants(t, err, nil, c.words...)
		})
	}
}
