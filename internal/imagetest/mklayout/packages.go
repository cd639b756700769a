package main

import "slices"

// The packages of the layers. Together they have everything that apt-get and
// the shell need, and nothing more.

func basePackages() []string {
	return []string{"base-files", "libc6", "gcc-12-base", "libgcc-s1"}
}

func shellPackages() []string {
	return []string{"dash", "coreutils", "libacl1", "libattr1", "libgmp10", "libpcre2-8-0", "libselinux1"}
}

func aptPackages() []string {
	return []string{
		"apt", "dpkg", "libapt-pkg6.0", "libbz2-1.0", "libcap2", "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5",
		"libmd0", "libstdc++6", "libsystemd0", "libudev1", "libxxhash0", "libzstd1", "zlib1g",
	}
}

// packages returns the packages of all layers.
func packages() []string { return slices.Concat(basePackages(), shellPackages(), aptPackages()) }
