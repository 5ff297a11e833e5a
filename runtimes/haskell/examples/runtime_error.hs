import System.IO (hFlush, stdout)

main :: IO ()
main = do
  putStrLn "before"
  hFlush stdout
  print (head ([] :: [Int]))
