//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

func TestParseOptions(t *testing.T) {
	kernel := filepath.Join(t.TempDir(), "bzImage")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := parseOptions([]string{
		"-kernel", kernel, "-fs", "xfs", "-disk", "8G", "-timeout", "5m", "-backends", "overlay",
	})
	if err != nil {
		t.Fatal(err)
	}
	if opts.fs != "xfs" || opts.disk != 8<<30 || opts.timeout != 5*time.Minute ||
		opts.accel != "tcg" || !slices.Equal(opts.backends, []string{"overlay"}) {
		t.Errorf("got %+v", opts)
	}
	for deny, want := range map[string][]string{"": nil, "statx  openat2": {"statx", "openat2"}} {
		if opts, err := parseOptions([]string{"-kernel", kernel, "-deny", deny}); err != nil || !slices.Equal(opts.deny, want) {
			t.Errorf("-deny %q: got %q, %v", deny, opts.deny, err)
		}
	}
	for _, wrong := range [][]string{
		{"-fs", "ntfs"},
		{"-disk", "many"},
		{"-accel", "hvf"},
		{"-arch", "mips"},
		{"-backends", "zfs"},
		{"-backends", ""},
		{"-deny", "open"},
		{"-bench", "file", "-count", "0"},
		{"-system", "/"},
		{"-command", "true"},
		{"-system", filepath.Dir(kernel), "-command", "true"},
		{"-system", "/", "-command", "true", "-bench", "file"},
		{"-bench", "file", "-size", "huge"},
		{"-kernel", kernel + "-not"},
		{"-auplink", kernel + "-not"},
		{"-auplink", kernel},
		{"-libraries", "docker"},
		{"-libraries", ""},
		{"-kernel", filepath.Dir(kernel)},
	} {
		if _, err := parseOptions(append([]string{"-kernel", kernel}, wrong...)); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestSuites(t *testing.T) {
	opts := options{image: "dir", libraries: libraryNames(), core: []string{"internal/core/fsutil", "internal/core/a/b"}}
	const module = "github.com/seed-642172e2/aufs"
	suites := []struct{ name, pkg, dir string }{
		{"core-fsutil", module + "/internal/core/fsutil", "internal/core/fsutil"},
		{"core-a-b", module + "/internal/core/a/b", "internal/core/a/b"},
		{"driver", module, "."},
		{"examples", module + "/example", "example"},
		{"images", module + "/internal/imagetest", "internal/imagetest"},
		{"podman-driver", module + "/podman", "podman"},
		{"podman-examples", module + "/podman/example", "build/podman/example"},
		{"podman-images", module + "/podman/internal/imagetest", "build/podman/internal/imagetest"},
	}
	if got := opts.suites(); len(got) != len(suites) {
		t.Fatalf("the suites are %+v", got)
	}
	for i, s := range opts.suites() {
		if want := suites[i]; s.Name != want.name || s.pkg != want.pkg || s.dir != want.dir {
			t.Errorf("suite %d is %+v, want %+v", i, s, want)
		}
	}
	opts.libraries, opts.image = []string{libraryPodman}, ""
	if got := opts.suites(); len(got) != 2 || got[0].Name != "podman-driver" || got[1].Name != "podman-examples" {
		t.Errorf("the suites of podman are %+v", got)
	}
}

func TestPrograms(t *testing.T) {
	opts := options{image: "dir", libraries: libraryNames(), core: []string{"internal/core/fsutil"}}
	var paths []string
	for _, p := range opts.programs() {
		paths = append(paths, p.path)
	}
	want := []string{
		"/init", "/bin/intree", "/bin/example", "/bin/podman-example", "/bin/ours",
		"/bin/core-fsutil.test", "/bin/driver.test", "/bin/examples.test", "/bin/images.test",
		"/bin/podman-driver.test", "/bin/podman-examples.test", "/bin/podman-images.test",
	}
	if !slices.Equal(paths, want) {
		t.Errorf("the programs are %q", paths)
	}
}

func TestBenchPlan(t *testing.T) {
	if plan := (options{size: "full"}).benchPlan(); plan != nil {
		t.Errorf("there are no benchmarks, and a plan: %+v", plan)
	}
	opts := options{bench: "file", benchtime: "1x", count: 2, size: "small"}
	if got, want := *opts.benchPlan(), (wire.Bench{Time: "1x", Count: 2, Size: "small"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(opts.suites()) > 0 || len(opts.programs()) != 4 {
		t.Errorf("got %v, %v", opts.suites(), opts.programs())
	}
}

func TestSystemPlan(t *testing.T) {
	for fs, device := range map[string]string{"ext4": "/dev/vdb", "tmpfs": "/dev/vda"} {
		opts := options{system: "/", command: "true", fs: fs, image: "dir", libraries: libraryNames()}
		if got, want := *opts.systemPlan(), (wire.System{Device: device, Command: "true"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if len(opts.suites()) > 0 || len(opts.programs()) != 1 {
			t.Errorf("got %v, %v", opts.suites(), opts.programs())
		}
		if args := strings.Join(qemuArgs("dir", opts), " "); !strings.HasSuffix(args, "file=dir/"+systemImage) {
			t.Errorf("the last disk is not the system's: %s", args)
		}
	}
	if plan := (options{}).systemPlan(); plan != nil {
		t.Errorf("there is no command, and a plan: %+v", plan)
	}
}

func TestParseOptionsNoKernel(t *testing.T) {
	if _, err := parseOptions(nil); !errors.Is(err, errNoKernel) {
		t.Errorf("got %v, want %v", err, errNoKernel)
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		s    string
		want int64 // 0: an error
	}{
		{"512", 512},
		{"3K", 3 << 10},
		{"20M", 20 << 20},
		{"4G", 4 << 30},
		{"", 0},
		{"G", 0},
		{"4GG", 0},
		{"4T", 0},
		{"-1G", 0},
		{"99999999G", 0},
	}
	for _, test := range tests {
		got, err := parseSize(test.s)
		if got != test.want || (err != nil) != (test.want == 0) {
			t.Errorf("%q: got %d, %v", test.s, got, err)
		}
	}
}

// TestQemuHasOnePort counts the virtio-serial ports of a machine with many suites: see package wire.
func TestQemuHasOnePort(t *testing.T) {
	opts := options{fs: "tmpfs", libraries: []string{libraryContainers, libraryPodman}, core: []string{"internal/core/a"}, image: "image"}
	if n := strings.Count(strings.Join(qemuArgs("dir", opts), " "), "virtserialport"); n != 1 || len(opts.suites()) < 5 {
		t.Errorf("%d ports for %d suites", n, len(opts.suites()))
	}
}

func TestQemuArgs(t *testing.T) {
	tests := []struct {
		name     string
		opts     options
		has, not string
	}{
		{"disk", options{fs: "ext4", accel: "tcg"}, "if=virtio,format=raw,cache=unsafe,werror=report,file=dir/disk.img", "-cpu host"},
		{"no disk", options{fs: "tmpfs", accel: "tcg"}, "-accel tcg -cpu max", "-drive"},
		{"kvm", options{fs: "tmpfs", accel: "kvm"}, "-accel kvm -cpu host", "tcg"},
		{"console", options{fs: "tmpfs"}, "file,id=console,path=/dev/fd/3 -serial chardev:console", ""},
		{"amd64", options{arch: "amd64"}, "console=ttyS0", "virt "},
		{"arm64", options{arch: "arm64"}, "-machine virt", "ttyS0"},
		{"kernel", options{kernel: "k"}, "-kernel k -initrd dir/initramfs.gz", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Join(qemuArgs("dir", test.opts), " ")
			if !strings.Contains(args, test.has) {
				t.Errorf("%q is not in %q", test.has, args)
			}
			if test.not != "" && strings.Contains(args, test.not) {
				t.Errorf("%q is in %q", test.not, args)
			}
		})
	}
}
