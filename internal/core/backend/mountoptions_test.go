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
		// volatile is MountOptions.Volatile.
		volatile bool
	}{
		{options: nil},
		{options: []string{""}},
		{options: []string{"ro"}, flags: unix.MS_RDONLY},
		{options: []string{"ro", "ro"}, flags: unix.MS_RDONLY},
		{options: []string{"rw", "dev", "suid", "exec"}},
		{options: []string{"nodev,nosuid", "noexec"}, flags: unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC},
		{options: []string{"noatime", "nodiratime", "sync"}, flags: unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_SYNCHRONOUS},
		{options: []string{"udba=none, nodev"}, flags: unix.MS_NODEV, data: []string{"udba=none"}},
		{options: []string{"nodio", "nodirperm1", "diropq=w"}, data: []string{"nodio", "nodirperm1", "diropq=w"}},
		{options: []string{"udba=none", "udba=none"}, data: []string{"udba=none"}},
		{options: []string{"volatile"}, volatile: true},
		{options: []string{"volatile, nodev", "volatile"}, flags: unix.MS_NODEV, volatile: true},
		{options: []string{"ro,volatile,async"}, flags: unix.MS_RDONLY, volatile: true},
	} {
		t.Run(strings.Join(c.options, ";"), func(t *testing.T) {
			o, err := backend.ParseMountOptions(c.options)
			if err != nil {
				t.Fatal(err)
			}
			if o.Flags != c.flags || !slices.Equal(o.Data, c.data) || o.Volatile != c.volatile {
				t.Errorf("got %+v, want %#x %q %v", o, c.flags, c.data, c.volatile)
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
		{"volatile=1", []string{`"volatile=1"`, "not known"}},
		{"sync,volatile", []string{`"sync"`, `"volatile"`, "contradict"}},
		{"volatile,async,dirsync", []string{`"dirsync"`, `"volatile"`, "contradict"}},
		{"ro=1", []string{`"ro=1"`}},
	} {
		t.Run(c.options, func(t *testing.T) {
			_, err := backend.ParseMountOptions([]string{c.options})
			wants(t, err, nil, c.words...)
		})
	}
}
