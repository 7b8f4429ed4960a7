// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";
import {IChannels, IWired} from "../support/Contracts.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract WiredTest is World {
    function _freshChannels() private returns (IChannels) {
        return IChannels(_new("PaymentChannels", abi.encode(token, params, staking, models, datanets, guardian)));
    }

    /// @dev F: a role that can be given again is a way to all the money.
    function test_roles_are_given_once_and_the_power_to_do_so_is_gone() public {
        IChannels fresh = _freshChannels();
        eq("nobody yet", fresh.rewards(), address(0));
        eq("deployer", fresh.deployer(), address(this));
        _emits(address(fresh));
        emit IPaymentChannels.RolesWired(alice);
        fresh.wire(alice);
        eq("rewards", fresh.rewards(), alice);
        eq("dead", fresh.deployer(), address(0));
        _refuses(IWired.NotDeployer.selector, abi.encode(address(this)));
        fresh.wire(bob);
    }

    /// @dev F: a deposit that is there before the roles are would depend on who gives them.
    function test_no_channel_opens_before_the_roles_are_given() public {
        IChannels fresh = _freshChannels();
        vm.startPrank(payer);
        token.approve(address(fresh), DEPOSIT);
        _refuses(IWired.ZeroRole.selector);
        fresh.open(_config(1), DEPOSIT);
        vm.stopPrank();
        fresh.wire(address(rewards));
        vm.prank(payer);
        fresh.open(_config(1), DEPOSIT);
    }

    function test_a_stranger_gives_no_role() public {
        IChannels fresh = _freshChannels();
        vm.prank(stranger);
        _refuses(IWired.NotDeployer.selector, abi.encode(stranger));
        fresh.wire(stranger);
    }

    function test_zero_is_no_role() public {
        IChannels fresh = _freshChannels();
        _refuses(IWired.ZeroRole.selector);
        fresh.wire(address(0));
        eq("the power is kept", fresh.deployer(), address(this));
    }

    function test_nobody_who_got_a_role_can_pass_it_on() public {
        address[5] memory all = [address(rewards), address(this), governor, guardian, node];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.prank(all[i]);
            _refuses(IWired.NotDeployer.selector, abi.encode(all[i]));
            channels.wire(all[i]);
        }
    }

    function test_rewards_without_a_protocol_treasury_cannot_be_deployed() public {
        bytes memory arguments = abi.encode(token, params, channels, staking, datanets, address(0));
        bytes memory code = abi.encodePacked(vm.getCode("AttributionRewards.sol:AttributionRewards"), arguments);
        bytes4 reason;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            returndatacopy(0, 0, 4)
            reason := mload(0)
        }
        eq("reason", bytes32(reason), bytes32(IAttributionRewards.ZeroAddress.selector));
    }
}
