package emberbox;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Tells whether this process is to wait in a template: it is traced until it comes to its script. */
final class Waiting {
    private Waiting() {}

    static boolean isComing() {
        try {
            return Files.readAllLines(Path.of("/proc/self/status")).stream()
                    .anyMatch(line -> line.startsWith("TracerPid:") && !line.substring(10).isBlank() && !line.endsWith("\t0"));
        } catch (IOException error) {
            return false;
        }
    }
}
