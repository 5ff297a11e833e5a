# Makes the driver, and archives the classes of the compiler and of usual programs, parsed and verified.
set -eu
. /usr/lib/emberbox/java/options
out=$home/usual
java $options -XX:ArchiveClassesAtExit=$home/compile.jsa -cp $home/driver.jar \
    emberbox.Compile /usr/lib/emberbox/java/Usual.java $out /usr/lib/emberbox/java/Usual.java
java $options -XX:ArchiveClassesAtExit=$home/run.jsa -cp $home/driver.jar emberbox.Run $out
rm -r $out $home/classes
