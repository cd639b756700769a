package console

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func readLog(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestScanLogs scans the output of a 6.1 kernel on which a test used one aufs
// branch twice, and of one that a test made panic.
func TestScanLogs(t *testing.T) {
	tests := []struct {
		file, test string
		has, last  string
		lines      int
	}{
		{
			file: "aufs.log", test: "TestDup",
			has: "aufs test_add:226:aufs.test[51]: /tmp/a duplicated",
			// The example began right after.
			last: "[    1.554213] aufs test_add:226:aufs.test[51]: /tmp/a duplicated",
			// Of the lines before, the expected ones of aufs do not count.
			lines: 4,
		},
		{
			file: "panic.log", test: "TestPanicKernel",
			has:   "Kernel panic - not syncing: sysrq triggered crash",
			last:  "[    1.633554] Kernel Offset: disabled",
			lines: 34,
		},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			findings, err := Scan(strings.NewReader(readLog(t, test.file)))
			if err != nil {
				t.Fatal(err)
			}
			if len(findings) != 1 {
				t.Fatalf("got %d findings: %+v", len(findings), findings)
			}
			got := findings[0]
			if got.Test != test.test {
				t.Errorf("during %q, want %q", got.Test, test.test)
			}
			if text := strings.Join(got.Lines, "\n"); !strings.Contains(text, test.has) {
				t.Errorf("not found: %q in\n%s", test.has, text)
			}
			if last := got.Lines[len(got.Lines)-1]; last != test.last {
				t.Errorf("got last line %q, want %q", last, test.last)
			}
			if len(got.Lines) != test.lines {
				t.Errorf("got %d lines, want %d:\n%s", len(got.Lines), test.lines, strings.Join(got.Lines, "\n"))
			}
		})
	}
}

func TestScanLine(t *testing.T) {
	tests := []struct {
		line string
		bad  bool
	}{
		{"[    1.1] general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP", true},
		{"[   12.345678] WARNING: CPU: 1 PID: 51 at fs/namespace.c:1234 f+0x1/0x2", true},
		{"[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000008", true},
		{"[   12.345678][   T51] BUG: unable to handle page fault for address: ffffffffffffffe8", true},
		{"WARNING: possible circular locking dependency detected", true},
		{"INFO: task aufs.test:51 blocked for more than 120 seconds.", true},
		{"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", true},
		{"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [aufs.test:51]", true},
		{"Oops: 0000 [#1] PREEMPT SMP NOPTI", true},
		{"EXT4-fs error (device vda): ext4_lookup:1855: inode #12: comm x: iget: checksum invalid", true},
		{"XFS (vda): Internal error i != 1 at line 2 of file x.c", true},
		{"BTRFS warning (device vda): csum failed root 5", true},
		{"overlayfs: upperdir is in-use as upperdir/workdir of another mount, accessing files from both mounts will result in undefined behavior.", true},
		{"overlayfs: upperdir is in-use as upperdir/workdir of another mount, mount with '-o index=off' to override exclusive upperdir protection.", false},
		{"overlayfs: lowerdir is in-use as upperdir/workdir of another mount, accessing files from both mounts will result in undefined behavior.", false},
		{"aufs au_opts_verify:763:aufs.test[51]: dirperm1 breaks the protection by the permission bits on the lower branch", false},
		{"aufs test_add:291:aufs.test[55]: uid/gid/perm /tmp/x/diff/Base2 0/0/0555, 0/0/0711", false},
		{"aufs au_xino_create:10:mount[7]: open /x(-2)", true},
		{"aufs au_xino_truncate:430:kworker/0:1[7]: begin truncating xino(b0-0), ib1, 2/3 free blks", false},
		{"aufs 6.1-20240701", false},
		{"overlayfs: fs on '/tmp' does not support file handles, falling back to index=off.", false},
		{"PCI: Using host bridge windows from ACPI; if necessary, use \"pci=nocrs\" and report a bug", false},
		{"Warning: unable to open an initial console.", false},
		{"[    0.1] vmtest: test TestWARNING: /BUG: ", false},
	}
	for _, test := range tests {
		findings, err := Scan(strings.NewReader(test.line + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if bad := len(findings) > 0; bad != test.bad {
			t.Errorf("%s: got %v, want %v", test.line, bad, test.bad)
		}
	}
}

func TestScanExpected(t *testing.T) {
	log := `[ 1.0] vmtest: expect message one is expected
[ 1.0] vmtest: expect message is another
[ 1.1] aufs f:1:x[1]: one is expected
[ 1.1] aufs f:1:x[1]: so is another
[ 1.2] BUG: one is expected, but no bug
[ 1.2] vmtest: test A
[ 1.3] aufs f:1:x[1]: a third one is not
[ 1.4] vmtest: expect no message
[ 1.4] vmtest: test B
[ 1.5] aufs f:1:x[1]: one is expected no more
`
	findings, err := Scan(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"BUG: one is expected, but no bug", "a third one is not", "one is expected no more"}
	if len(findings) != len(want) {
		t.Fatalf("got %+v", findings)
	}
	for i, text := range want {
		if !slices.ContainsFunc(findings[i].Lines, func(line string) bool { return strings.Contains(line, text) }) {
			t.Errorf("finding %d is %+v, without %q", i, findings[i], text)
		}
	}
}

func TestScanEndless(t *testing.T) {
	log := strings.Repeat("BUG: again\n", 2*mostLines+1)
	findings, err := Scan(strings.NewReader(log))
	if err != nil || len(findings) != 3 || len(findings[0].Lines) != mostLines {
		t.Errorf("got %d findings, %v", len(findings), err)
	}
}

func TestScanReadError(t *testing.T) {
	broken := errors.New("broken")
	_, err := Scan(iotest.ErrReader(broken))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestAufsVersion(t *testing.T) {
	tests := []struct{ log, want string }{
		{"[    0.5] foo\r\n[    0.612345] aufs 6.1-20240701\r\n[ 0.7] bar\r\n", "6.1-20240701"},
		{"aufs 5.10.140-20221017\n", "5.10.140-20221017"},
		{"[    1.1] aufs test_add:234:init[45]: x\n", ""},
	}
	for _, test := range tests {
		if got := AufsVersion(test.log); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
