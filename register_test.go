//go:build linux

package aufs

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestForgottenTag builds a program without the tag that leaves out the library's own aufs driver, so that the program
// has both drivers, and runs it.
func TestForgottenTag(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to build a program with")
	}
	program := filepath.Join(t.TempDir(), "program")
	build := func(tags string) {
		c := exec.Command("go", "build", "-tags", tags, "-o", program, "./internal/bothdrivers")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	build("exclude_graphdriver_btrfs")
	out, err := exec.Command(program).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "-tags exclude_graphdriver_aufs") {
		t.Errorf("without the tag: %v\n%s", err, out)
	}
	build("exclude_graphdriver_btrfs exclude_graphdriver_aufs")
	if out, err = exec.Command(program).CombinedOutput(); err != nil {
		t.Errorf("with the tag: %v\n%s", err, out)
	}
}
