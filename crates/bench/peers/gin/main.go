// The story's own service: gin, a form parsed up to a threshold in memory, each file read whole and written.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/gin-gonic/gin"
)

func main() {
	dir := flag.String("dir", ".", "directory that receives the files")
	threshold := flag.Int64("threshold", 32<<20, "bytes of a form kept in memory")
	hash := flag.Bool("hash", false, "SHA-256 of each file")
	sync := flag.Bool("sync", false, "fsync each file before the answer")
	flag.Parse()
	os.Setenv("TMPDIR", *dir)
	var next atomic.Int64

	store := func(content []byte) error {
		file, err := os.Create(filepath.Join(*dir, strconv.FormatInt(next.Add(1), 10)))
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err = file.Write(content); err == nil && *sync {
			err = file.Sync()
		}
		return err
	}

	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST("/upload", func(c *gin.Context) {
		if err := c.Request.ParseMultipartForm(*threshold); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		defer c.Request.MultipartForm.RemoveAll()
		files := []gin.H{}
		for field, headers := range c.Request.MultipartForm.File {
			for _, header := range headers {
				part, err := header.Open()
				if err != nil {
					c.AbortWithStatus(http.StatusInternalServerError)
					return
				}
				content, err := io.ReadAll(part)
				part.Close()
				digest := ""
				if err == nil && *hash {
					sum := sha256.Sum256(content)
					digest = hex.EncodeToString(sum[:])
				}
				if err == nil {
					err = store(content)
				}
				if err != nil {
					c.AbortWithStatus(http.StatusInternalServerError)
					return
				}
				files = append(files, gin.H{"field": field, "filename": header.Filename, "bytes": len(content), "sha256": digest})
			}
		}
		c.JSON(http.StatusCreated, gin.H{"files": files})
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, engine))
}
