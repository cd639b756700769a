package main

// ground makes the files that the upper layers change, besides the packages' files.
func ground(s *stack) {
	s.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	s.file("opt/tree/a/b/lowest", "lowest\n")
	s.file("opt/tree/a/lowest", "lowest\n")
	s.file("opt/tree/lowest", "lowest\n")
	s.file("srv/releases/1/app", "1\n")
	s.symlink("srv/current", "releases/1")
}

// slim deletes and replaces files of the packages.
func slim(s *stack) {
	s.remove("usr/share/doc")
	s.remove("etc/issue.net")
	s.remove("etc/update-motd.d/10-uname")

	s.opaque("etc/apt/apt.conf.d")
	s.file("etc/apt/apt.conf.d/90slim", "APT::Install-Recommends \"false\";\n")
	s.opaque("usr/share/common-licenses")
	s.file("usr/share/common-licenses/GPL-3", "A shorter one.\n")
	// The new directories have the same names as the old ones, and none of their content.
	s.opaque("opt/tree")
	s.file("opt/tree/a/b/middle", "middle\n")

	s.file("etc/debian_version", "slim\n")
	s.dir("var/cache", 0o700)
	changeTypes(s)
}

// changeTypes replaces directories by files and so on, with and without a whiteout.
func changeTypes(s *stack) {
	s.dir("etc/issue", 0o755)
	s.file("etc/issue/text", "slim\n")
	s.remove("etc/host.conf")
	s.dir("etc/host.conf", 0o755)
	s.file("etc/host.conf/multi", "on\n")
	s.symlink("usr/share/base-files", "common-licenses")
	s.file("usr/share/dict", "slim\n")
	s.remove("var/backups")
	s.file("var/backups", "none\n")
	s.dir("srv/current", 0o755)
	s.file("srv/current/app", "2\n")
	s.file("etc/os-release", "ID=slim\n")
	// The new directory replaces the old one and does not add to it.
	s.remove("etc/dpkg")
	s.dir("etc/dpkg", 0o755)
	s.file("etc/dpkg/origins/mine", "Vendor: mine\n")
}

// restore brings back files that slim deleted, and again replaces files that slim replaced.
func restore(s *stack) {
	s.file("usr/share/doc/README", "The documents are gone.\n")
	s.file("etc/issue.net", "restored\n")
	s.dir("etc/update-motd.d/10-uname", 0o755)

	s.opaque("etc/apt/apt.conf.d")
	s.file("etc/apt/apt.conf.d/10restored", "")
	s.opaque("usr/share/common-licenses")
	s.file("usr/share/common-licenses/BSD", "restored\n")
	// This is inside a directory that is opaque in the layer below.
	s.remove("opt/tree/a/b/middle")
	s.file("opt/tree/a/b/upper", "upper\n")
	s.file("opt/tree/lowest", "restored\n")

	s.file("etc/issue", "restored\n")
	s.remove("usr/share/base-files")
	s.dir("usr/share/base-files", 0o755)
	s.file("usr/share/base-files/profile", "restored\n")
	s.dir("var/backups", 0o755)
	s.symlink("srv/current", "releases/2")
	s.file("srv/releases/2/app", "2\n")
}

// trim deletes some files of the layer odd, and some that were restored.
func trim(s *stack) {
	s.remove("usr/share/doc")
	s.remove("etc/issue.net")
	s.remove("opt/tree/a")

	s.remove("opt/links/b")
	s.remove("opt/odd/deleted-" + notUTF8)
	s.remove("opt/odd/" + longName)
	s.remove("opt/odd/deleted-fifo")
	s.remove("opt/odd/deleted-dangling")
	s.opaque("opt/odd/deep/" + longDir)
	// The old file's owner, mode and attributes must all disappear.
	s.file("opt/odd/plain", "plain now\n")
}
