{-# LANGUAGE TypeFamilies #-}
{-# LANGUAGE UndecidableInstances #-}
{-# OPTIONS_GHC -freduction-depth=0 #-}

type family Endless a where
  Endless a = Endless [a]

main :: IO ()
main = print (undefined :: Endless Int)
