import qualified Data.ByteString as Bytes
import System.IO (IOMode (ReadMode), withBinaryFile)

main :: IO ()
main = do
  bytes <- withBinaryFile "/dev/urandom" ReadMode (`Bytes.hGet` 8)
  putStrLn ("/dev/urandom " ++ show (Bytes.unpack bytes))
