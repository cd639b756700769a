#!/bin/sh
# Makes one.squashfs and two.squashfs, which the tests use as two releases of an additional image store. A store of the in-tree driver is in
# them. They differ only in which file the layer middle deletes in a subdirectory: sizes, times and inode numbers are the same.
set -e
here=$(cd "$(dirname "$0")" && pwd)
for release in one:f two:g; do
	dir=$(mktemp -d)
	mkdir -p "$dir/aufs/layers" "$dir/aufs/diff/base/d/e" "$dir/aufs/diff/middle/d/e" "$dir/aufs/mnt/base" "$dir/aufs/mnt/middle"
	: > "$dir/aufs/layers/base"
	echo base > "$dir/aufs/layers/middle"
	for name in f g; do echo "$name" > "$dir/aufs/diff/base/d/e/$name"; done
	echo base > "$dir/aufs/diff/base/file"
	: > "$dir/aufs/diff/middle/d/e/.wh.${release#*:}"
	echo middle > "$dir/aufs/diff/middle/file"
	chmod 0700 "$dir/aufs"
	mksquashfs "$dir" "$here/${release%:*}.squashfs" -all-root -all-time 1700000000 -mkfs-time 1700000000 -comp gzip -noappend -no-progress -quiet
	rm -r "$dir"
done
