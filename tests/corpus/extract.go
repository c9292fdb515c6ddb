// Extracts a zip archive as Go programs do: names by path, kinds by mode, links as links.
package main

import (
	"archive/zip"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func check(err error) {
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

func main() {
	reader, err := zip.OpenReader(os.Args[1])
	check(err)
	root := filepath.Clean(os.Args[2]) + string(os.PathSeparator)
	for _, file := range reader.File {
		path := filepath.Join(root, file.Name)
		if !strings.HasPrefix(path+string(os.PathSeparator), root) {
			println("outside: " + file.Name)
			os.Exit(1)
		}
		mode := file.Mode()
		if mode.IsDir() || strings.HasSuffix(file.Name, "/") {
			check(os.MkdirAll(path, 0o755))
			continue
		}
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		content, err := file.Open()
		check(err)
		if mode&os.ModeSymlink != 0 {
			target, err := io.ReadAll(content)
			check(err)
			check(os.Symlink(string(target), path))
		} else {
			made, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm()|0o600)
			check(err)
			_, err = io.Copy(made, content)
			check(err)
			check(made.Close())
		}
		check(content.Close())
	}
}
