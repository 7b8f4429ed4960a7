// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IToken} from "../support/Contracts.sol";
import {BlockingToken, CallingToken, IHook} from "../support/OddTokens.sol";
import {vm} from "../support/Vm.sol";
import {Handler} from "./Handler.sol";

/// @notice A network whose token refuses all who are only ever credited: contributors, an owner and all treasuries.
/// Nothing is sent to them, so they stop nobody, and they withdraw to another account.
contract BlockingHandler is Handler {
    function setUp() public override {
        super.setUp();
        address[6] memory refused = [alice, bob, curator, treasury, firstTreasury, secondTreasury];
        for (uint256 i = 0; i < refused.length; ++i) BlockingToken(address(token)).setBlocked(refused[i]);
    }

    function _token() internal override returns (IToken) {
        return IToken(address(new BlockingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }
}

/// @notice A network whose token calls its holders, and whose holders try to steal whenever they are being paid. While
/// they pay themselves, what they get out in the middle only makes their own payment fail: see OddTokens.t.sol.
contract CallingHandler is Handler, IHook {
    uint256 private _numHooks;
    bool private _isWithin;

    function setUp() public override {
        super.setUp();
        address[7] memory all = [_nodeOf(0), _nodeOf(1), _nodeOf(2), _payerOf(0), _payerOf(1), maker, stranger];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.prank(all[i]);
            CallingToken(address(token)).setHook(this);
        }
    }

    function _token() internal override returns (IToken) {
        return IToken(address(new CallingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    function onTransfer(address from, address, uint256) external {
        if (_isWithin || from.code.length == 0) return;
        _isWithin = true;
        uint256 random = uint256(keccak256(abi.encode(++_numHooks)));
        try this.steal(random, random >> 128) {
            ++numCalls["stolen within"];
        } catch {}
        _isWithin = false;
    }
}
