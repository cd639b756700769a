//go:build linux

package imagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// chroot runs a program in the tree at root, and returns the program's output.
func chroot(t *testing.T, root string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", env
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: root}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q in %s: %v\n%s", args, root, err, out)
	}
	return string(out)
}

// edits changes the image's tree as users do.
const edits = `
# Files of the image are appended to, written, emptied and made longer. Where
# aufs is on xfs, a file that is emptied keeps its time.
echo 'user:x:1000:1000::/home/user:/bin/sh' >>/etc/passwd
echo written >/etc/debian_version
: >/usr/share/base-files/profile
touch /usr/share/base-files/profile
truncate -s 1M /opt/odd/empty
cp /usr/bin/env /opt/odd/plain

# Files and directories go, and some come back.
rm /etc/os-release /usr/lib/os-release /opt/odd/gnu-caf* /usr/local/bin/su
rm -r /opt/tree
rm -r /usr/share/common-licenses
mkdir /usr/share/common-licenses
echo own >/usr/share/common-licenses/GPL-3
rm -r /srv/releases
echo 'a file' >/srv/releases
rm /srv/current
mkdir -p /srv/current/1
rm /dev/zero
mkdir /dev/zero
rm -r /etc/update-motd.d
mkdir -p /etc/update-motd.d/10-uname

# Directories and files are moved.
mv /usr/lib/apt /usr/lib/moved
mv /opt/odd/noted /opt/noted
mv /opt/odd/large /opt/larger
mv /etc/issue /etc/host.conf/multi
mkdir /opt/new
mv /opt/odd/deep /opt/new/deep
rmdir /opt/odd/shared
mv /opt/new /opt/odd/shared

# Links are made.
ln /usr/bin/true /opt/true
ln -s dash /usr/bin/shell
rmdir /var/backups
ln -s cache /var/backups
cp -a /opt/links /opt/copied

# Modes, owners and times change.
chmod 4711 /usr/bin/id
chmod 700 /var/log /usr/local/bin/ping
chown -R 7:8 /etc/apt
chown -h 1000:1000 /opt/odd/dangling
chown 1000:1000 /opt/odd/far
touch -d @1000000000 /opt/odd/nobody

# All types of files are new.
mkdir -m 1777 /var/scratch
mkdir -p "/opt/two
words"
mkfifo /run/fifo
mknod /dev/full c 1 7
`

// linkedFile is a file of the image with several names. editLinked changes the
// file through one of them.
const (
	linkedFile = "opt/links/a"
	editLinked = "echo more >>/" + linkedFile
)

// splitLink makes one name of a file a file of its own, as copy-up on overlayfs
// does. The name's directory keeps its time.
func splitLink(t *testing.T, name string) {
	t.Helper()
	dir, err := os.Stat(filepath.Dir(name))
	must(t, err)
	info, err := os.Stat(name)
	must(t, err)
	content, err := os.ReadFile(name)
	must(t, err)
	must(t, os.Remove(name))
	must(t, os.WriteFile(name, content, info.Mode()))
	must(t, os.Chtimes(filepath.Dir(name), dir.ModTime(), dir.ModTime()))
}
